//! Disks on files of this host, without a guest.

use std::{fs, os::unix::fs::FileExt, sync::Arc, time::Duration};

use devices::{DiskOperation, DiskRequest, DiskStatus, FIRST_DISK_SLOT, Output};
use ftlog::{DiskMode, Event};
use replay::Room;
use replay::StopSwitch;
use tempfile::{NamedTempFile, TempDir};

use super::{
    job::Job,
    ring::{Returned, Ring},
    stamp::{Mark, StampState},
    *,
};
use crate::{demo::random::Random, host::clock::boot_ns, ingress::Inbox};

const SLOT: u8 = FIRST_DISK_SLOT;
const SECTORS: u64 = 2048;
const HOUR_NS: u64 = 3_600_000_000_000;
const ROOM: Room = Room { frames: 0, console: 0 };

/// One disk on a file of its own.
struct Bench {
    disks: Disks,
    inbox: Arc<Inbox>,
    stop: StopSwitch,
    file: NamedTempFile,
    next_id: u64,
}

impl Bench {
    fn new(mode: DiskMode, live: bool) -> Self {
        let file = NamedTempFile::new().unwrap();
        file.as_file().set_len(SECTORS * 512).unwrap();
        let (inbox, stop) = (Arc::new(Inbox::default()), StopSwitch::default());
        let option = DiskOption { path: file.path().into(), mode, readonly: false };
        let disks = Disks::open(&[option], Use::Pair, live, &inbox, &stop).unwrap();
        Self { disks, inbox, stop, file, next_id: 0 }
    }

    fn request(&mut self, operation: DiskOperation) -> DiskRequest {
        self.next_id += 1;
        DiskRequest { slot: SLOT, id: self.next_id, operation }
    }

    /// Asks as a live guest does.
    fn ask(&mut self, operation: DiskOperation) -> u64 {
        let request = self.request(operation);
        let id = request.id;
        let mut outputs = vec![Output::Disk(request)];
        self.disks.admit(&[], &mut outputs);
        for output in outputs {
            let Output::Disk(request) = output else { unreachable!() };
            self.disks.perform(request);
        }
        id
    }

    fn write(&mut self, offset: u64, byte: u8) -> u64 {
        self.ask(DiskOperation::Write { offset, data: vec![byte; 512] })
    }

    /// The answers that are here, at least one.
    fn answers(&self) -> Vec<(u64, u8, Vec<u8>)> {
        let mut events = Vec::new();
        self.inbox.wait(ROOM, None);
        self.inbox.take(ROOM, &mut events);
        self.disks.admit(&events, &mut Vec::new());
        let answer = |event| match event {
            Event::DiskDone { slot: SLOT, id, status, data } => (id, status, data),
            other => panic!("{other:?}"),
        };
        events.into_iter().map(answer).collect()
    }

    fn answer(&self) -> (u64, u8, Vec<u8>) {
        let mut answers = self.answers();
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }

    fn content(&self) -> Vec<u8> {
        fs::read(self.file.path()).unwrap()
    }
}

/// What a disk must do, and what it must hold then.
fn apply(model: &mut [u8], operation: &DiskOperation) -> Vec<u8> {
    match operation {
        DiskOperation::Read { offset, len } => model[*offset as usize..][..*len as usize].to_vec(),
        DiskOperation::Write { offset, data } => {
            model[*offset as usize..][..data.len()].copy_from_slice(data);
            Vec::new()
        }
        DiskOperation::Discard { offset, len } | DiskOperation::WriteZeroes { offset, len, .. } => {
            model[*offset as usize..][..*len as usize].fill(0);
            Vec::new()
        }
        DiskOperation::Flush => Vec::new(),
    }
}

fn any_operation(random: &mut Random) -> DiskOperation {
    let len = 512 * (1 + random.below(64));
    let offset = 512 * random.below(SECTORS - len / 512 + 1);
    match random.below(10) {
        0..4 => DiskOperation::Write { offset, data: vec![random.below(256) as u8; len as usize] },
        4..7 => DiskOperation::Read { offset, len: len as u32 },
        7 => DiskOperation::WriteZeroes { offset, len, may_unmap: random.below(2) == 0 },
        8 => DiskOperation::Discard { offset, len },
        _ => DiskOperation::Flush,
    }
}

#[test]
fn requests_that_overlap_are_carried_out_in_order_many_at_a_time() {
    for mode in [DiskMode::Replicated, DiskMode::Shared] {
        let mut bench = Bench::new(mode, true);
        let (mut random, mut model) = (Random::new(3), vec![0; SECTORS as usize * 512]);
        let mut expected = std::collections::HashMap::new();
        for _ in 0..40 {
            for _ in 0..1 + random.below(200) {
                let operation = any_operation(&mut random);
                let data = apply(&mut model, &operation);
                expected.insert(bench.ask(operation), data);
            }
            while !expected.is_empty() {
                for (id, status, data) in bench.answers() {
                    assert_eq!(status, DiskStatus::Ok as u8, "request {id}");
                    assert!(expected.remove(&id) == Some(data), "request {id} brought other data");
                }
            }
        }
        assert!(bench.content() == model, "{mode}: the file holds something else");
        assert!(bench.disks.is_idle());
    }
}

/// As on a host that has no holes for this file.
#[test]
fn zeroes_are_written_where_a_hole_cannot_be_made() {
    let discard = || DiskOperation::Discard { offset: 512, len: 600 << 10 };
    let zeroes = DiskOperation::WriteZeroes { offset: 512, len: 600 << 10, may_unmap: true };
    for (operation, mode, status) in [
        (zeroes.clone(), DiskMode::Replicated, Some(DiskStatus::Ok)),
        (zeroes, DiskMode::Shared, Some(DiskStatus::Ok)),
        (discard(), DiskMode::Replicated, Some(DiskStatus::Ok)),
        (discard(), DiskMode::Shared, Some(DiskStatus::Unsupported)),
    ] {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 700 << 10], 0).unwrap();
        let mut ring = Ring::new(Ring::prepare().unwrap(), file.try_clone().unwrap());
        let mut job = Box::new(Job::new(DiskRequest { slot: SLOT, id: 1, operation }, mode));
        let mut ended = job.advance(-libc::EOPNOTSUPP);
        while ended.is_none() {
            ring.launch(job);
            ring.wait(None).unwrap();
            let Some(Returned::Job(back, result)) = ring.next() else { panic!("the job is not back") };
            job = back;
            ended = job.advance(result);
        }
        assert_eq!(ended, status);
        let mut content = vec![1; 700 << 10];
        file.read_exact_at(&mut content, 0).unwrap();
        let zeroes = 512..512 + (600 << 10);
        let done = ended == Some(DiskStatus::Ok);
        assert!(content[zeroes.clone()].iter().all(|byte| *byte == if done { 0 } else { 7 }));
        assert!(content[..512].iter().chain(&content[zeroes.end..]).all(|byte| *byte == 7));
    }
}

/// As on a host that starts no thread more, of which io_uring needs some.
#[test]
fn calls_made_here_and_now_do_what_those_of_the_ring_do() {
    for mode in [DiskMode::Replicated, DiskMode::Shared] {
        let file = tempfile::tempfile().unwrap();
        file.set_len(SECTORS * 512).unwrap();
        let (mut random, mut model) = (Random::new(5), vec![0; SECTORS as usize * 512]);
        for id in 0..300 {
            let operation = any_operation(&mut random);
            let expected = apply(&mut model, &operation);
            let is_read = matches!(operation, DiskOperation::Read { .. });
            let mut job = Job::new(DiskRequest { slot: SLOT, id, operation }, mode);
            let status = loop {
                let result = job.call(&file);
                if let Some(status) = job.advance(result) {
                    break status;
                }
            };
            assert_eq!(status, DiskStatus::Ok);
            assert!(!is_read || job.data == expected, "request {id} brought other data");
        }
        let mut content = vec![1; model.len()];
        file.read_exact_at(&mut content, 0).unwrap();
        assert!(content == model, "{mode}: the file holds something else");
    }
}

#[test]
fn the_end_waits_for_what_was_asked() {
    let mut bench = Bench::new(DiskMode::Replicated, true);
    for sector in 0..400 {
        bench.write(sector * 512, sector as u8);
    }
    let Bench { disks, file, .. } = bench;
    drop(disks);
    let content = fs::read(file.path()).unwrap();
    assert!((0..400).all(|sector| content[sector * 512..][..512] == [sector as u8; 512]));
}

#[test]
fn a_file_that_ends_too_early_is_an_io_error_and_nothing_else_is() {
    let mut bench = Bench::new(DiskMode::Replicated, true);
    bench.file.as_file().set_len(1024).unwrap();
    let id = bench.ask(DiskOperation::Read { offset: 512, len: 1024 });
    assert_eq!(bench.answer(), (id, DiskStatus::IoError as u8, Vec::new()));
    let id = bench.ask(DiskOperation::Read { offset: 512, len: 512 });
    assert_eq!(bench.answer(), (id, DiskStatus::Ok as u8, vec![0; 512]));
    let report = &bench.disks.report()[0];
    assert_eq!((report.errors, report.in_flight, report.bytes), (1, 0, SECTORS * 512));
}

#[test]
fn writes_to_a_shared_disk_wait_for_the_secondary_and_reads_do_not() {
    let mut bench = Bench::new(DiskMode::Shared, true);
    bench.disks.fence().close();
    let write = bench.write(0, 7);
    let flush = bench.ask(DiskOperation::Flush);
    let read = bench.ask(DiskOperation::Read { offset: 1024, len: 512 });
    assert_eq!(bench.answer().0, read);
    while !bench.disks.fence().take_wanted() {
        std::thread::yield_now();
    }
    assert_eq!(bench.content()[0], 0);
    bench.disks.fence().extend(boot_ns() + HOUR_NS);
    bench.disks.look_at_fence();
    let mut done = Vec::new();
    while done.len() < 2 {
        done.extend(bench.answers().into_iter().map(|(id, status, _)| (id, status)));
    }
    done.sort_unstable();
    assert_eq!(done, [(write, 0), (flush, 0)]);
    assert_eq!(bench.content()[0], 7);
}

#[test]
fn a_side_that_is_not_the_vm_any_more_writes_nothing() {
    let mut bench = Bench::new(DiskMode::Shared, true);
    bench.disks.fence().close();
    bench.write(0, 7);
    bench.disks.fence().shut();
    bench.disks.look_at_fence();
    assert!(bench.disks.wait_idle(), "it is given up");
    assert_eq!(bench.content()[0], 0);
}

#[test]
fn a_new_live_side_waits_with_its_first_write() {
    let mut bench = Bench::new(DiskMode::Shared, false);
    let from_ns = boot_ns() + 100_000_000;
    bench.disks.go_live(from_ns);
    let write = bench.write(0, 7);
    let read = bench.ask(DiskOperation::Read { offset: 512, len: 512 });
    assert_eq!(bench.answer().0, read);
    assert_eq!(bench.answer().0, write);
    assert!(boot_ns() >= from_ns);
}

#[test]
fn a_copy_is_awaited_and_must_do_what_the_primary_did() {
    let mut bench = Bench::new(DiskMode::Replicated, false);
    let done =
        |id, status: DiskStatus| Event::DiskDone { slot: SLOT, id, status: status as u8, data: vec![] };
    let write = bench.request(DiskOperation::Write { offset: 512, data: vec![9; 512] });
    let read = bench.request(DiskOperation::Read { offset: 512, len: 512 });
    let (id, other) = (write.id, read.id);
    bench.disks.copy(write, &StopSwitch::default());
    bench.disks.copy(read, &StopSwitch::default());
    bench
        .disks
        .await_copies(
            &[done(id, DiskStatus::Ok), done(other, DiskStatus::Ok), done(77, DiskStatus::Ok)],
            &StopSwitch::default(),
        )
        .unwrap();
    assert_eq!(bench.content()[512], 9);

    let beyond = |bench: &mut Bench| {
        let data = vec![9; 512];
        let request = bench.request(DiskOperation::Write { offset: SECTORS * 512, data });
        let id = request.id;
        bench.disks.copy(request, &StopSwitch::default());
        id
    };
    let failed_on_both = beyond(&mut bench);
    bench.disks.await_copies(&[done(failed_on_both, DiskStatus::IoError)], &StopSwitch::default()).unwrap();
    let failed_here = beyond(&mut bench);
    let error = bench
        .disks
        .await_copies(&[done(failed_here, DiskStatus::Ok)], &StopSwitch::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("disk 0") && error.contains(&bench.file.path().display().to_string()), "{error}");
    assert_eq!(bench.content().len() as u64, SECTORS * 512, "a file does not grow");
    let mut events = Vec::new();
    bench.inbox.take(ROOM, &mut events);
    assert!(events.is_empty(), "a copy's answers are not the guest's");
}

#[test]
fn a_secondary_writes_no_shared_disk() {
    let mut bench = Bench::new(DiskMode::Shared, false);
    let write = bench.request(DiskOperation::Write { offset: 0, data: vec![9; 512] });
    bench.disks.copy(write, &StopSwitch::default());
    assert!(bench.disks.is_idle());
    assert_eq!(bench.content()[0], 0);
}

#[test]
fn a_guest_that_never_takes_its_answers_is_refused_more_reads() {
    let mut bench = Bench::new(DiskMode::Replicated, true);
    for _ in 0..600 {
        bench.ask(DiskOperation::Read { offset: 0, len: 512 });
    }
    let mut status = [0; 3];
    for _ in 0..2 {
        assert!(bench.disks.wait_idle());
        let mut answers = bench.answers();
        while status.iter().sum::<u64>() + (answers.len() as u64) < 600 {
            answers.extend(bench.answers());
        }
        answers.iter().for_each(|(_, answer, _)| status[usize::from(*answer)] += 1);
        if status.iter().sum::<u64>() == 600 {
            break;
        }
    }
    assert_eq!(status, [512, 88, 0]);
    let id = bench.ask(DiskOperation::Read { offset: 0, len: 512 });
    assert_eq!(bench.answer(), (id, 0, vec![0; 512]), "it is served again");
}

#[test]
fn whoever_waits_for_a_disk_hears_the_stop_switch() {
    let mut bench = Bench::new(DiskMode::Shared, true);
    bench.disks.fence().close();
    bench.write(0, 7);
    bench.stop.throw();
    assert!(!bench.disks.wait_idle());
}

#[test]
fn another_vm_is_not_replayed_before_the_disks_are_at_rest_and_they_are_not_waited_for_for_ever() {
    let mut bench = Bench::new(DiskMode::Shared, true);
    bench.disks.fence().close();
    bench.write(0, 7);
    let busy = bench.disks.replay(Duration::from_millis(30)).unwrap_err().to_string();
    assert!(busy.contains("disk 0") && busy.contains("busy with what was asked of it before"), "{busy}");
    bench.disks.fence().shut();
    bench.disks.look_at_fence();
    bench.disks.await_rest(Duration::from_secs(30)).unwrap();
    // What an earlier session has left is still written.
    let comparison = bench.disks.comparison();
    let written = comparison.lock().unwrap();
    let busy = bench.disks.replay(Duration::ZERO).unwrap_err().to_string();
    assert!(busy.contains("busy with what an earlier primary sent"), "{busy}");
    drop(written);
    bench.disks.replay(Duration::ZERO).unwrap();
}

#[test]
fn an_image_has_one_user_unless_a_pair_shares_it() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("disk");
    fs::write(&path, [0; 1024]).unwrap();
    let open = |mode, usage| Backing::open(&DiskOption { path: path.clone(), mode, readonly: false }, usage);
    let one = open(DiskMode::Replicated, Use::Pair).unwrap();
    assert_eq!(one.shape, DiskShape { sectors: 2, readonly: false, mode: DiskMode::Replicated });
    for usage in [Use::Alone, Use::Pair] {
        assert!(matches!(open(DiskMode::Replicated, usage), Err(DiskError::Busy { .. })));
    }
    drop(one);
    let one = open(DiskMode::Shared, Use::Pair).unwrap();
    open(DiskMode::Shared, Use::Pair).unwrap();
    assert!(matches!(open(DiskMode::Shared, Use::Alone), Err(DiskError::Busy { .. })));
    one.reopen().unwrap();
    fs::write(&path, [0; 512]).unwrap();
    assert!(matches!(one.reopen(), Err(DiskError::Size { bytes: 512, .. })));
}

/// By whatever name.
#[test]
fn a_vm_does_not_have_a_disk_twice() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("disk"), [0; 1024]).unwrap();
    fs::hard_link(path("disk"), path("hard")).unwrap();
    std::os::unix::fs::symlink(path("disk"), path("soft")).unwrap();
    let (inbox, stop) = (Arc::new(Inbox::default()), StopSwitch::default());
    for mode in [DiskMode::Replicated, DiskMode::Shared] {
        for name in ["disk", "hard", "soft", "./disk"] {
            let option = |name: &str| DiskOption { path: path(name), mode, readonly: false };
            let opened = Disks::open(&[option("disk"), option(name)], Use::Pair, true, &inbox, &stop);
            assert!(matches!(opened, Err(DiskError::Twice { .. })), "{name}");
        }
    }
}

/// Two VMs that both name it, as pairs do.
#[test]
fn a_shared_disk_has_one_live_side() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("disk");
    fs::write(&path, [0; 1024]).unwrap();
    let (inbox, stop) = (Arc::new(Inbox::default()), StopSwitch::default());
    let option = [DiskOption { path, mode: DiskMode::Shared, readonly: false }];
    let open = |live| Disks::open(&option, Use::Pair, live, &inbox, &stop);
    let (live, follower, other) = (open(true).unwrap(), open(false).unwrap(), open(true).unwrap());
    live.lock_live().unwrap();
    assert!(matches!(other.lock_live(), Err(DiskError::Busy { .. })));
    drop(live);
    follower.go_live(0);
    assert!(matches!(other.lock_live(), Err(DiskError::Busy { .. })), "it is the live side now");
}

/// What was opened at the start is what is used: a path that leads elsewhere at the takeover is not followed.
#[test]
fn a_path_that_leads_elsewhere_later_is_not_followed() {
    let directory = TempDir::new().unwrap();
    let (path, away) = (directory.path().join("disk"), directory.path().join("away"));
    fs::write(&path, [0; 1024]).unwrap();
    let (inbox, stop) = (Arc::new(Inbox::default()), StopSwitch::default());
    let option = [DiskOption { path: path.clone(), mode: DiskMode::Shared, readonly: false }];
    let disks = Disks::open(&option, Use::Pair, false, &inbox, &stop).unwrap();
    fs::rename(&path, &away).unwrap();
    fs::write(&path, [0; 1024]).unwrap();
    disks.go_live(0);
    let operation = DiskOperation::Write { offset: 0, data: vec![7; 512] };
    let mut outputs = vec![Output::Disk(DiskRequest { slot: SLOT, id: 1, operation })];
    disks.admit(&[], &mut outputs);
    let Some(Output::Disk(request)) = outputs.pop() else { panic!("it was admitted") };
    disks.perform(request);
    assert!(disks.wait_idle());
    drop(disks);
    assert_eq!((fs::read(&path).unwrap()[0], fs::read(&away).unwrap()[0]), (0, 7));
}

#[test]
fn what_cannot_be_a_disk_is_an_error_that_names_it() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("empty"), []).unwrap();
    fs::write(path("odd"), [0; 1000]).unwrap();
    fs::create_dir(path("directory")).unwrap();
    for (name, readonly) in
        [("missing", false), ("empty", false), ("odd", false), ("directory", false), ("directory", true)]
    {
        let option = DiskOption { path: path(name), mode: DiskMode::Replicated, readonly };
        let error = Backing::open(&option, Use::Alone).unwrap_err().to_string();
        assert!(error.contains(&path(name).display().to_string()), "{error}");
    }
    let option = DiskOption { path: path("odd"), mode: DiskMode::Replicated, readonly: true };
    let (inbox, stop) = (Arc::new(Inbox::default()), StopSwitch::default());
    let many = vec![option; ftlog::MAX_DISKS + 1];
    assert!(matches!(
        Disks::open(&many, Use::Alone, true, &inbox, &stop),
        Err(DiskError::Count { count: 7 })
    ));
}

#[test]
fn a_read_only_disk_refuses_to_be_written() {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(4096).unwrap();
    let (inbox, stop) = (Arc::new(Inbox::default()), StopSwitch::default());
    let option = DiskOption { path: file.path().into(), mode: DiskMode::Replicated, readonly: true };
    let disks = Disks::open(&[option.clone(), option], Use::Pair, true, &inbox, &stop).unwrap();
    let operation = DiskOperation::Write { offset: 0, data: vec![1; 512] };
    let mut outputs = vec![Output::Disk(DiskRequest { slot: SLOT + 1, id: 5, operation })];
    disks.admit(&[], &mut outputs);
    let Some(Output::Disk(request)) = outputs.pop() else { panic!("it was admitted") };
    disks.perform(request);
    inbox.wait(ROOM, Some(Duration::from_secs(30)));
    let mut events = Vec::new();
    inbox.take(ROOM, &mut events);
    assert_eq!(events, [Event::DiskDone { slot: SLOT + 1, id: 5, status: 1, data: vec![] }]);
}

/// Whoever writes a copy without marking what is written first makes sure that nobody believes the marks any more.
#[test]
fn a_copy_that_is_used_otherwise_has_no_bases() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("a.img");
    fs::write(&path, vec![0; SECTORS as usize * 512]).unwrap();
    let (inbox, stop) = (Arc::new(Inbox::default()), StopSwitch::default());
    let open = |mode, usage| {
        let option = DiskOption { path: path.clone(), mode, readonly: false };
        Disks::open(&[option], usage, true, &inbox, &stop).unwrap()
    };
    let intents = directory.path().join("a.img.ftvmm-intents");
    for (mode, usage, kept) in [
        (DiskMode::Replicated, Use::Pair, true),
        (DiskMode::Replicated, Use::Alone, false),
        (DiskMode::Shared, Use::Pair, false),
    ] {
        let disks = open(DiskMode::Replicated, Use::Pair);
        let (vm, generation) = (ftlog::VmId([1; 16]), ftlog::Generation(1));
        let mark = Mark { vm, name: "db".into(), generation, state: StampState::Live };
        disks.stamp(&mark).unwrap();
        disks.begin_bases(vm, generation, 0);
        disks.come_to(ftlog::Position(7), HOUR_NS);
        // Ends when the base is safe.
        drop(disks);
        assert!(intents.exists());
        drop(open(mode, usage));
        assert_eq!(intents.exists(), kept, "{mode} {usage:?}");
    }
}
