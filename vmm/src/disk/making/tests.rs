//! Making equal, broken off everywhere.

use std::{cell::RefCell, fs, sync::Arc};

use ftlog::{DISK_BLOCK, DiskId, Generation, VmId};
use tempfile::TempDir;

use super::*;
use crate::{
    demo::random::Random,
    disk::{Changes, Intents, Progress, stamp::may_boot, undo::bring_back},
};

const BYTES: u64 = 20 * DISK_BLOCK as u64 + 512;
const DISK: DiskId = DiskId([3; 16]);

/// A directory with an image in it, which had been written in generation 4.
struct Bench {
    directory: TempDir,
    old: Vec<u8>,
}

fn mark(generation: u64, state: StampState) -> Mark {
    Mark { vm: VmId([7; 16]), name: "db".into(), generation: Generation(generation), state }
}

fn content(random: &mut Random) -> Vec<u8> {
    let mut content = vec![0; BYTES as usize];
    for block in content.chunks_mut(DISK_BLOCK) {
        // Some are zeroes in one copy or in both.
        if random.below(3) > 0 {
            block.fill(random.below(256) as u8);
        }
    }
    content
}

impl Bench {
    fn new(random: &mut Random) -> Self {
        let bench = Self { directory: TempDir::new().unwrap(), old: content(random) };
        fs::write(bench.path(), &bench.old).unwrap();
        bench.place().write(&bench.old_stamp()).unwrap();
        bench
    }

    fn old_stamp(&self) -> Stamp {
        let stamp = Stamp::new(&mark(4, StampState::Live), DISK, 0, BYTES, DiskMode::Replicated);
        Stamp { at_ms: 0, ..stamp }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("b.img")
    }

    fn open(&self) -> fs::File {
        fs::File::options().read(true).write(true).open(self.path()).unwrap()
    }

    fn place(&self) -> Place {
        Place::of(&self.open()).unwrap()
    }

    fn blocks(&self) -> Blocks {
        Blocks::new(self.open(), BYTES)
    }

    fn making(&self, generation: u64) -> Making {
        let copy = DiskCopy {
            disk: 0,
            readonly: false,
            blocks: self.blocks(),
            changes: Arc::new(Changes::new(BYTES)),
            intents: Arc::new(Intents::none(BYTES)),
            progress: Arc::new(Progress::default()),
        };
        let mark = mark(generation, StampState::Follower);
        let line = DiskLine { id: Some(DISK), lacks: None };
        Making::new(copy, Some(self.place()), self.path(), mark, line)
    }

    fn state(&self) -> (Vec<u8>, Option<Stamp>) {
        (fs::read(self.path()).unwrap(), self.place().read().unwrap())
    }

    /// All that is in the directory, as a power failure would leave it.
    fn files(&self) -> Vec<(std::ffi::OsString, Vec<u8>)> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        entries
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap()))
            .collect()
    }

    fn reset(&self, files: &[(std::ffi::OsString, Vec<u8>)]) {
        for (name, _) in self.files() {
            fs::remove_file(self.directory.path().join(name)).unwrap();
        }
        files.iter().for_each(|(name, data)| fs::write(self.directory.path().join(name), data).unwrap());
    }
}

fn no_warning(text: String) {
    panic!("{text}");
}

fn batches(new: &[u8], at_once: usize) -> Vec<Vec<(u64, &[u8])>> {
    let blocks: Vec<_> = (0..).zip(new.chunks(DISK_BLOCK)).collect();
    blocks.chunks(at_once).map(<[_]>::to_vec).collect()
}

#[test]
fn a_copy_that_is_made_equal_is_a_follower_and_leaves_no_journal() {
    let mut random = Random::new(1);
    let (bench, new) = (Bench::new(&mut random), content(&mut random));
    let mut making = bench.making(5);
    for batch in batches(&new, 7) {
        making.write(&batch, &no_warning).unwrap();
    }
    making.finish().unwrap();
    let (content, stamp) = bench.state();
    let stamp = stamp.unwrap();
    assert!(content == new);
    assert_eq!((stamp.state, stamp.generation, stamp.disk), (StampState::Follower, Generation(5), DISK));
    assert_eq!(bench.files().len(), 2, "the image and its stamp");
}

#[test]
fn a_copy_of_which_nothing_is_known_is_told_of_once_when_it_is_overwritten() {
    let mut random = Random::new(6);
    let (bench, new) = (Bench::new(&mut random), content(&mut random));
    let stamp = bench.files().into_iter().map(|(name, _)| name).find(|name| *name != "b.img").unwrap();
    fs::remove_file(bench.directory.path().join(stamp)).unwrap();
    let told = RefCell::new(Vec::new());
    // Broken off, and begun again.
    for _ in 0..2 {
        let mut making = bench.making(5);
        for batch in batches(&new, 7) {
            making.write(&batch, &|text| told.borrow_mut().push(text)).unwrap();
        }
    }
    let expected = format!("{} is overwritten: no stamp, {BYTES} bytes", bench.path().display());
    assert_eq!(*told.borrow(), [expected]);
}

#[test]
fn a_copy_that_was_equal_already_is_never_half_made() {
    let bench = Bench::new(&mut Random::new(2));
    let making = bench.making(5);
    assert_eq!(bench.state().1, Some(bench.old_stamp()));
    making.finish().unwrap();
    let stamp = bench.state().1.unwrap();
    assert_eq!((stamp.state, stamp.generation), (StampState::Follower, Generation(5)));
}

/// Broken off after each batch, by processes one after the other: the copy never boots as the mixture that it is, and
/// what it was before comes back.
#[test]
fn the_copy_from_before_comes_back_whenever_it_is_broken_off() {
    for seed in 0..8 {
        let mut random = Random::new(seed);
        let bench = Bench::new(&mut random);
        for generation in 5..9 {
            let (new, mut making) = (content(&mut random), bench.making(generation));
            let through = 1 + random.below(5) as usize;
            for batch in batches(&new, 3).iter().take(through) {
                making.write(batch, &no_warning).unwrap();
            }
            drop(making);
            may_boot(&bench.path(), bench.state().1.as_ref()).unwrap_err();
        }
        let (stamp, blocks) = restore(&bench.place(), &bench.blocks()).unwrap();
        assert!(blocks > 0);
        assert_eq!(stamp, Some(bench.old_stamp()));
        assert!(bench.state() == (bench.old.clone(), stamp), "seed {seed}");
        restore(&bench.place(), &bench.blocks()).unwrap_err();
    }
}

/// A power failure leaves the journal cut off anywhere after the records that are safe, with rubbish behind it or not.
#[test]
fn a_torn_end_of_the_journal_is_no_harm() {
    let mut random = Random::new(9);
    let (bench, new) = (Bench::new(&mut random), content(&mut random));
    let journal = bench.path().with_file_name("b.img.ftvmm-undo");
    let all = batches(&new, 5);
    let mut making = bench.making(5);
    making.write(&all[0], &no_warning).unwrap();
    let (safe, half) = (fs::metadata(&journal).unwrap().len() as usize, bench.files());
    making.write(&all[1], &no_warning).unwrap();
    let longer = fs::read(&journal).unwrap();
    for _ in 0..40 {
        // The records of the second batch were not safe, so no block of it was overwritten.
        bench.reset(&half);
        let cut = safe + random.below((longer.len() - safe) as u64) as usize;
        let mut torn = longer[..cut].to_vec();
        if random.below(2) == 0 {
            torn.extend(vec![random.below(256) as u8; random.below(100_000) as usize]);
        }
        fs::write(&journal, torn).unwrap();
        if random.below(2) == 0 {
            let mut again = bench.making(6);
            again.write(&all[2], &no_warning).unwrap();
        }
        restore(&bench.place(), &bench.blocks()).unwrap();
        assert!(bench.state().0 == bench.old);
    }
}

/// Bringing back that is itself broken off is begun again.
#[test]
fn bringing_back_can_be_repeated() {
    let mut random = Random::new(10);
    let (bench, new) = (Bench::new(&mut random), content(&mut random));
    let mut making = bench.making(5);
    making.write(&batches(&new, 30)[0], &no_warning).unwrap();
    let id = bench.state().1.unwrap().before.unwrap().undo.unwrap();
    for _ in 0..2 {
        bring_back(&bench.place(), &id, BYTES, &bench.blocks()).unwrap();
        may_boot(&bench.path(), bench.state().1.as_ref()).unwrap_err();
    }
    restore(&bench.place(), &bench.blocks()).unwrap();
    assert!(bench.state() == (bench.old.clone(), Some(bench.old_stamp())));
}

/// A journal that cannot be written: the copying goes on, and the stamp says first that there is no way back.
#[test]
fn a_copy_without_a_journal_says_that_the_one_from_before_is_gone() {
    let mut random = Random::new(11);
    let (bench, new) = (Bench::new(&mut random), content(&mut random));
    // A directory in its place cannot be written, whoever tries.
    fs::create_dir(bench.path().with_file_name("b.img.ftvmm-undo")).unwrap();
    let warnings = RefCell::new(Vec::new());
    let mut making = bench.making(5);
    making.write(&batches(&new, 3)[0], &|text| warnings.borrow_mut().push(text)).unwrap();
    assert!(warnings.borrow()[0].contains("cannot be brought back"), "{warnings:?}");
    let stamp = bench.state().1.unwrap();
    let reason = may_boot(&bench.path(), Some(&stamp)).unwrap_err();
    assert!(reason.contains("is gone"), "{reason}");
    let error = restore(&bench.place(), &bench.blocks()).unwrap_err().to_string();
    assert!(error.contains("is gone"), "{error}");
}

/// A copy that cannot be marked is not touched.
#[test]
fn a_copy_that_cannot_be_marked_is_not_overwritten() {
    let mut random = Random::new(12);
    let (bench, new) = (Bench::new(&mut random), content(&mut random));
    fs::create_dir(bench.path().with_file_name("b.img.ftvmm-new")).unwrap();
    let mut making = bench.making(5);
    making.write(&batches(&new, 3)[0], &no_warning).unwrap_err();
    assert!(bench.state() == (bench.old.clone(), Some(bench.old_stamp())));
}
