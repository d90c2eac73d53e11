//! The bitmap, with the host crashing anywhere.

use std::{
    fs, iter,
    os::unix::fs::FileExt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use ftlog::{DISK_BLOCK, DiskId, DiskMode, Generation, Position, VmId};
use tempfile::TempDir;

use super::{journal::Usage, state::KEPT, *};
use crate::{
    demo::random::Random,
    disk::stamp::{Mark, Stamp, StampState},
    host::clock::wall_ns,
};

const REGION: u64 = 64 * DISK_BLOCK as u64;
const REGIONS: u64 = 11;
const BYTES: u64 = REGIONS * REGION;
const VM: VmId = VmId([7; 16]);

struct Bench {
    directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { directory: TempDir::new().unwrap() };
        fs::File::create(bench.path()).unwrap().set_len(BYTES).unwrap();
        let state = StampState::Live;
        let mark = Mark { vm: VM, name: "db".into(), generation: Generation(2), state };
        let stamp = Stamp::new(&mark, DiskId([3; 16]), 0, BYTES, DiskMode::Replicated);
        Place::of(&bench.image()).unwrap().write(&stamp).unwrap();
        bench
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("a.img")
    }

    fn image(&self) -> fs::File {
        fs::File::options().read(true).write(true).open(self.path()).unwrap()
    }

    fn open(&self) -> Intents {
        let file = self.image();
        Intents::open(Place::of(&file).unwrap(), file, BYTES).unwrap()
    }

    /// What each region holds, as far as these tests go.
    fn content(&self) -> Vec<u8> {
        let image = self.image();
        let first = |region| {
            let mut byte = [0];
            image.read_exact_at(&mut byte, region * REGION).unwrap();
            byte[0]
        };
        (0..REGIONS).map(first).collect()
    }
}

fn id(position: u64) -> BaseId {
    BaseId { vm: VM, generation: Generation(2), position: Position(position) }
}

fn region(region: u64) -> Range<u64> {
    region * REGION..region * REGION + 512
}

fn base(intents: &Intents, position: u64) {
    assert!(intents.propose(id(position), iter::empty()));
    intents.establish(true);
}

fn mark(intents: &Intents, number: u64) {
    intents.mark(iter::once(region(number))).unwrap();
}

fn marked(regions: &Regions) -> Vec<u64> {
    (0..REGIONS).filter(|region| regions.has(*region)).collect()
}

#[test]
fn two_copies_differ_at_most_where_one_was_written_since_their_last_common_base() {
    let (one, two) = (Bench::new(), Bench::new());
    let (ours, theirs) = (one.open(), two.open());
    assert_eq!(ours.common(&theirs.bases(0)), None);
    for intents in [&ours, &theirs] {
        base(intents, 10);
        mark(intents, 3);
        // What was written lately counts as written for the next base too.
        base(intents, 20);
    }
    // One of the two goes on.
    base(&ours, 30);
    mark(&ours, 5);
    let (found, regions) = ours.common(&theirs.bases(0)).unwrap();
    assert_eq!((found, marked(&regions)), (id(20), vec![3, 5]));
    mark(&theirs, 9);
    // Both have been away.
    let (ours, theirs) = (one.open(), two.open());
    let (found, regions) = theirs.common(&ours.bases(0)).unwrap();
    assert_eq!((found, marked(&regions)), (id(20), vec![3, 5, 9]));
    // Of another VM, or of another generation, is another base.
    let mut other = theirs.bases(0);
    other.bases.iter_mut().for_each(|base| base.generation = Generation(3));
    assert_eq!(ours.common(&other), None);
    // Too many bases later there is none in common.
    (40..44).for_each(|position| base(&ours, position));
    assert_eq!(ours.common(&theirs.bases(0)), None);
    assert_eq!(ours.bases(0).bases.len(), KEPT);
}

/// A copy that is written, gets bases, and is broken off anywhere: what is not marked is what it was at the base.
#[test]
fn what_is_not_marked_is_what_the_base_had_after_every_crash() {
    let seed = std::env::var("FTVMM_SEED").map_or_else(|_| wall_ns(), |seed| seed.parse().unwrap());
    println!("FTVMM_SEED={seed}");
    let mut random = Random::new(seed);
    let bench = Bench::new();
    let mut intents = bench.open();
    let mut history = Vec::new();
    let mut on_its_way: Option<u64> = None;
    let mut pending = None;
    for position in 0..400 {
        match random.below(10) {
            0..5 => {
                let number = random.below(REGIONS);
                intents.mark(iter::once(region(number))).unwrap();
                on_its_way = Some(number);
            }
            5 | 6 => {
                let proposed = intents.propose(id(position), on_its_way.map(region).into_iter());
                pending = proposed.then(|| (id(position), bench.content(), on_its_way)).or(pending);
            }
            7 => {
                let safe = random.below(4) > 0;
                intents.establish(safe);
                history.extend(pending.take().filter(|_| safe));
            }
            8 => {
                on_its_way = None;
                pending = None;
                intents = bench.open();
            }
            _ => {}
        }
        if let Some(number) = on_its_way.filter(|_| random.below(2) == 0) {
            let byte = random.below(256) as u8;
            bench.image().write_all_at(&[byte], number * REGION).unwrap();
            on_its_way = None;
        }
        let now = bench.content();
        for found in intents.bases(0).bases {
            let (_, then, unfinished) =
                history.iter().find(|(id, ..)| *id == base_id(&found)).expect("a base that was safe");
            let regions = Regions::of_map(BYTES, found.map).unwrap();
            for number in (0..REGIONS).filter(|number| !regions.has(*number)) {
                assert_eq!(now[number as usize], then[number as usize], "region {number} at {position}");
                assert_ne!(*unfinished, Some(number));
            }
        }
    }
}

/// With a base, and a write after it that is over.
fn written(bench: &Bench) -> Intents {
    let intents = bench.open();
    base(&intents, 10);
    mark(&intents, 1);
    bench.image().write_all_at(&[1], REGION).unwrap();
    intents.rest();
    intents
}

fn has_bases(bench: &Bench) -> bool {
    !bench.open().bases(0).bases.is_empty()
}

fn modify(bench: &Bench, after: Duration) {
    bench.image().set_modified(SystemTime::now() + after).unwrap();
}

#[test]
fn a_copy_that_somebody_else_has_written_has_no_bases() {
    const MOMENT: Duration = Duration::from_millis(1);
    let bench = Bench::new();
    written(&bench);
    assert!(has_bases(&bench), "killed while nothing was under way");
    modify(&bench, MOMENT);
    assert!(!has_bases(&bench));
    assert_eq!(fs::read_dir(bench.directory.path()).unwrap().count(), 2, "the bitmap is gone");

    written(&bench).close();
    assert!(has_bases(&bench), "ended in order");
    modify(&bench, MOMENT);
    assert!(!has_bases(&bench));

    let intents = written(&bench);
    mark(&intents, 2);
    modify(&bench, MOMENT);
    assert!(has_bases(&bench), "killed, and the write was done");
    modify(&bench, Duration::from_secs(1));
    assert!(!has_bases(&bench));

    // What a host that lost power has noted last may not be there.
    let lose_power = |intents: &Intents| intents.lock().note(Usage { boot: 1, at_work: false, ns: 0 });
    lose_power(&written(&bench));
    assert!(has_bases(&bench));
    lose_power(&written(&bench));
    modify(&bench, Duration::from_secs(60));
    assert!(!has_bases(&bench));
}

#[test]
fn a_copy_that_was_replaced_or_has_no_stamp_has_no_bases() {
    let bench = Bench::new();
    written(&bench);
    let copy = bench.directory.path().join("copy");
    fs::copy(bench.path(), &copy).unwrap();
    let modified = fs::metadata(bench.path()).unwrap().modified().unwrap();
    fs::File::options().write(true).open(&copy).unwrap().set_modified(modified).unwrap();
    fs::rename(copy, bench.path()).unwrap();
    assert!(!has_bases(&bench), "another file by the same name");

    written(&bench);
    fs::remove_file(bench.directory.path().join("a.img.ftvmm")).unwrap();
    assert!(!has_bases(&bench), "no stamp");
}

#[test]
fn a_damaged_bitmap_is_none() {
    let bench = Bench::new();
    let intents = bench.open();
    base(&intents, 10);
    mark(&intents, 1);
    mark(&intents, 4);
    let path = bench.directory.path().join("a.img.ftvmm-intents");
    let whole = fs::read(&path).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for at in 0..used {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        assert_eq!(bench.open().bases(0).bases, [], "byte {at}");
        assert!(!path.exists());
    }
    for len in 0..used {
        fs::write(&path, &whole[..len]).unwrap();
        let bases = bench.open().bases(0).bases;
        // Cut between two records it is whole: the last was not safe, and what it allows was not done.
        assert!(bases.is_empty() || (used - len).is_multiple_of(24), "cut at {len} of {used}");
    }
    fs::write(&path, [&whole[..used], &[0; 9], &[1]].concat()).unwrap();
    assert_eq!(bench.open().bases(0).bases, [], "something after the records");
    // What cannot be read to its end may have marks there.
    fs::write(&path, &whole).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(16 << 20).unwrap();
    assert_eq!(bench.open().bases(0).bases, [], "too long");
}

#[test]
fn a_copy_that_failed_has_no_bases_nor_has_one_whose_bases_are_not_kept() {
    let bench = Bench::new();
    let intents = bench.open();
    base(&intents, 10);
    assert!(intents.propose(id(20), iter::empty()));
    intents.forget().unwrap();
    intents.establish(true);
    assert_eq!(intents.bases(0).bases, []);
    assert_eq!(bench.open().bases(0).bases, []);
    // It begins anew.
    base(&intents, 30);
    assert_eq!(bench.open().bases(0).bases.len(), 1);

    let none = Intents::none(BYTES);
    assert!(!none.propose(id(1), iter::empty()));
    mark(&none, 1);
    none.forget().unwrap();
    assert_eq!(none.bases(3), DiskBases { disk: 3, map_len: 2, bases: Vec::new() });
}

#[test]
fn many_records_make_a_new_file() {
    let bench = Bench::new();
    let intents = bench.open();
    base(&intents, 10);
    let len = || fs::metadata(bench.directory.path().join("a.img.ftvmm-intents")).unwrap().len();
    let before = len();
    for _ in 0..5000 {
        // As if much time had passed.
        intents.lock().until_ns = 0;
        mark(&intents, 2);
    }
    assert_eq!(len(), before);
    assert_eq!(marked(&Regions::of_map(BYTES, bench.open().bases(0).bases.remove(0).map).unwrap()), [2]);
}
