//! Both ends of the comparison, with a wire that this thread is.

use std::{
    fs,
    path::PathBuf,
    slice::from_ref,
    sync::{Arc, Mutex},
    time::Duration,
};

use devices::{DiskOperation, DiskRequest, FIRST_DISK_SLOT, Output};
use ftlog::{DISK_BLOCK, DiskBlock, DiskMode, DiskRegions, Position, Shape, VmId};
use replay::Room;
use replay::StopSwitch;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

use super::*;
use crate::{
    control::Board,
    demo::random::Random,
    disk::{
        DiskOption, Use,
        stamp::{Mark, StampState},
    },
    identity::VmIdentity,
    ingress::Inbox,
    link::{
        mailbox::{Letters, mailbox},
        secondary::{
            copies::{self, Copies},
            messages::Report,
        },
    },
};

/// Not whole blocks, and more than one frame of digests.
const SECTORS: u64 = 300 * 128 + 3;
const PATIENCE: Duration = Duration::from_secs(30);

struct Side {
    disks: Disks,
    inbox: Arc<Inbox>,
    files: Vec<PathBuf>,
    options: Vec<DiskOption>,
    _directory: TempDir,
}

const VM: VmId = VmId([1; 16]);

impl Side {
    fn new(live: bool, contents: &[Vec<u8>], readonly: bool) -> Self {
        let directory = TempDir::new().unwrap();
        let file = |index: usize| directory.path().join(index.to_string());
        let files: Vec<_> = (0..contents.len()).map(file).collect();
        let option = |(path, content): (&PathBuf, &Vec<u8>)| {
            fs::write(path, content).unwrap();
            DiskOption { path: path.clone(), mode: DiskMode::Replicated, readonly }
        };
        let options: Vec<_> = files.iter().zip(contents).map(option).collect();
        let (disks, inbox) = open(&options, live);
        if live {
            disks.stamp(&mark(StampState::Live)).unwrap();
        }
        Self { disks, inbox, files, options, _directory: directory }
    }

    /// The process ends, and another one is started.
    fn restart(&mut self, live: bool) {
        let (none, _) = open(&[], false);
        drop(std::mem::replace(&mut self.disks, none));
        (self.disks, self.inbox) = open(&self.options, live);
    }

    fn contents(&self) -> Vec<Vec<u8>> {
        self.files.iter().map(|file| fs::read(file).unwrap()).collect()
    }

    /// As the guest asks.
    fn ask(&self, request: DiskRequest) {
        let mut events = Vec::new();
        self.inbox.take(Room { frames: 0, console: 0 }, &mut events);
        let mut outputs = vec![Output::Disk(request)];
        self.disks.admit(&events, &mut outputs);
        for output in outputs {
            let Output::Disk(request) = output else { unreachable!() };
            self.disks.perform(request);
        }
    }

    /// Waits until the disk has a base.
    fn await_base(&self) {
        let until = std::time::Instant::now() + PATIENCE;
        while self.disks.copies().unwrap()[0].intents.bases(0).bases.is_empty() {
            assert!(std::time::Instant::now() < until, "no base");
            std::thread::yield_now();
        }
    }

    /// As a guest that writes all the time.
    fn write(&self, id: u64, random: &mut Random) {
        let data = vec![random.below(256) as u8; 512 * (1 + random.below(256)) as usize];
        let offset = 512 * random.below(SECTORS - data.len() as u64 / 512 + 1);
        let slot = FIRST_DISK_SLOT + random.below(self.files.len() as u64) as u8;
        self.ask(DiskRequest { slot, id, operation: DiskOperation::Write { offset, data } });
    }
}

fn open(options: &[DiskOption], live: bool) -> (Disks, Arc<Inbox>) {
    let (inbox, stop) = (Arc::new(Inbox::default()), StopSwitch::default());
    (Disks::open(options, Use::Pair, live, &inbox, &stop).unwrap(), inbox)
}

fn mark(state: StampState) -> Mark {
    let identity = VmIdentity { vm: VM, shape: Shape::default(), wall_base_ns: 0 };
    identity.mark(Generation(1), state)
}

fn start(disks: &Disks) -> (Copies, Letters<Report>) {
    let (reports, heard) = mailbox().unwrap();
    let mark = mark(StampState::Follower);
    let copies = Copies::start(disks, &mark, &[], reports, Board::default()).unwrap().unwrap();
    (copies, heard)
}

/// Waits for how it ended.
fn outcome(heard: &Letters<Report>) -> Result<(), String> {
    loop {
        let mut ready = [PollFd::from_borrowed_fd(heard.descriptor(), PollFlags::IN)];
        assert_eq!(poll(&mut ready, Some(&Timespec::try_from(PATIENCE).unwrap())).unwrap(), 1);
        heard.acknowledge();
        while let Some(report) = heard.next() {
            match report {
                Report::Copied => return Ok(()),
                Report::Unusable(reason) => return Err(reason),
                _ => {}
            }
        }
    }
}

fn frame(kind: FrameKind, body: Vec<u8>) -> Frame {
    Frame { kind, sequence: 0, offset: 0, body }
}

/// Something has come, or comes soon.
fn wait(seeding: &Seeding, copies: &Copies) {
    let ready = [seeding.letters.descriptor(), copies.descriptor()];
    let mut ready = ready.map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN));
    poll(&mut ready, Some(&Timespec::try_from(PATIENCE).unwrap())).unwrap();
    seeding.letters.acknowledge();
    copies.letters.acknowledge();
}

/// The two ends of a session.
struct Session {
    seeding: Seeding,
    copies: Copies,
    heard: Letters<Report>,
    /// Held by whoever writes the copies.
    writing: Arc<Mutex<()>>,
    /// What is compared, for people.
    said: String,
}

impl Session {
    /// Carries what the two say to each other until the primary has an end, or `go_on`, which is asked in between, says
    /// no.
    fn carry(&mut self, mut go_on: impl FnMut() -> bool) -> Result<(), String> {
        let Self { seeding, copies, said, .. } = self;
        loop {
            wait(seeding, copies);
            if !go_on() {
                return Ok(());
            }
            while !seeding.is_full()
                && let Some(letter) = copies.letters.next()
            {
                let (kind, body) = match letter {
                    copies::Letter::Bases(body) => (FrameKind::DiskBases, body),
                    copies::Letter::Digests(body) => (FrameKind::DiskDigests, body),
                    copies::Letter::Failed(reason) => panic!("{reason}"),
                };
                seeding.hear(&frame(kind, body)).unwrap();
            }
            while let Some(letter) = seeding.letters.next() {
                match letter {
                    Letter::Notice(what) => *said += &what,
                    Letter::Frame(kind, body) => copies.hear(frame(kind, body)).unwrap(),
                    Letter::Compared => return Ok(()),
                    Letter::Failed(reason) => return Err(reason),
                    _ => panic!("there is no memory"),
                }
            }
            if !copies.letters.is_empty() {
                copies.letters.wake();
            }
        }
    }

    /// The last blocks; gives what was compared, for people.
    fn finish(mut self, primary: &Side) -> String {
        assert!(primary.disks.wait_idle());
        let mut last = primary.disks.copies().unwrap();
        send_changes(&mut last, &mut |body| self.copies.hear(frame(FrameKind::DiskBlock, body))).unwrap();
        self.copies.finish();
        outcome(&self.heard).unwrap();
        self.said
    }

    /// It comes to nothing.
    fn break_off(self) {
        drop(self.copies);
        drop(self.writing.lock().unwrap());
    }
}

fn begin_session(primary: &Side, secondary: &Side) -> Session {
    let (copies, heard) = start(&secondary.disks);
    let writing = secondary.disks.comparison();
    let seeding = Seeding::of_disks(Link(1), Generation(1), &primary.disks).unwrap().unwrap();
    Session { seeding, copies, heard, writing, said: String::new() }
}

fn begin_pair(primary: &Side, secondary: &Side, go_on: impl FnMut() -> bool) -> Session {
    let mut session = begin_session(primary, secondary);
    session.carry(go_on).unwrap();
    session
}

/// Makes the secondary's copies equal to the primary's; gives what was compared, for people.
fn pair_up(primary: &Side, secondary: &Side, mut meanwhile: impl FnMut()) -> String {
    let go_on = || {
        meanwhile();
        true
    };
    begin_pair(primary, secondary, go_on).finish(primary)
}

fn contents(random: &mut Random) -> Vec<u8> {
    let mut content = vec![0; SECTORS as usize * 512];
    for _ in 0..40 {
        let at = random.below(content.len() as u64) as usize;
        let end = (at + 100_000).min(content.len());
        content[at..end].fill(random.below(256) as u8);
    }
    content
}

#[test]
fn copies_are_made_equal_while_the_guest_writes() {
    let mut random = Random::new(11);
    let ours = vec![contents(&mut random), contents(&mut random)];
    let theirs = vec![contents(&mut random), ours[1].clone()];
    let (primary, secondary) = (Side::new(true, &ours, false), Side::new(false, &theirs, false));
    let mut id = 0;
    pair_up(&primary, &secondary, || {
        for _ in 0..3 {
            id += 1;
            primary.write(id, &mut random);
        }
    });
    assert!(id > 3 && primary.contents() != ours);
    assert!(primary.contents() == secondary.contents(), "the copies differ");
}

/// Both sides come to a base while they are a pair, then each writes something that the other does not, as a primary
/// and the secondary that took over from it do. Whatever becomes of the processes, little is compared after that.
#[test]
fn copies_that_were_equal_once_are_compared_where_they_were_written_since() {
    let mut random = Random::new(12);
    // Three regions and a little.
    let mut content = contents(&mut random);
    let (mut one, mut two) =
        (Side::new(true, from_ref(&content), false), Side::new(false, &[contents(&mut random)], false));
    let said = pair_up(&one, &two, || {});
    assert_eq!(said, "disk 0: 18.8 of 18.8 MiB are compared");
    for side in [&one, &two] {
        side.disks.begin_bases(VM, Generation(3), 7);
        side.disks.come_to(Position(90), 2_000_000_000);
    }
    for (restarts, survivor_is_one) in [(false, true), (true, false), (true, true)] {
        let offset = 9 << 20;
        for (id, (side, at)) in [(&one, offset), (&two, offset + 512)].into_iter().enumerate() {
            let data = vec![random.below(256) as u8; 512];
            let operation = DiskOperation::Write { offset: at, data };
            side.disks.perform(DiskRequest { slot: FIRST_DISK_SLOT, id: id as u64, operation });
        }
        if restarts {
            one.restart(survivor_is_one);
            two.restart(!survivor_is_one);
        } else {
            // The base is safe before anything is compared.
            one.await_base();
            two.await_base();
        }
        let (primary, secondary) = if survivor_is_one { (&one, &two) } else { (&two, &one) };
        content = primary.contents().remove(0);
        let said = pair_up(primary, secondary, || {});
        let rest = "the rest has not changed since generation 3 at #90";
        assert_eq!(said, format!("disk 0: 4.0 of 18.8 MiB are compared; {rest}"));
        assert!(secondary.contents()[0] == content, "the copies differ");
    }
    // A copy of which nothing is known is compared as a whole.
    two.disks.copies().unwrap()[0].intents.forget().unwrap();
    assert_eq!(pair_up(&one, &two, || {}), "disk 0: 18.8 of 18.8 MiB are compared");
}

#[test]
fn read_only_copies_that_differ_are_refused_and_equal_ones_are_not() {
    let content = contents(&mut Random::new(5));
    let mut other = content.clone();
    let last = other.len() - 1;
    other[last] ^= 1;
    for (theirs, equal) in [(content.clone(), true), (other, false)] {
        let (primary, secondary) =
            (Side::new(true, from_ref(&content), true), Side::new(false, &[theirs], true));
        let mut session = begin_session(&primary, &secondary);
        let compared = session.carry(|| true);
        assert_eq!(compared.is_ok(), equal, "{compared:?}");
        assert!(compared.err().is_none_or(|reason| reason.contains("read-only disk 0")));
        let block = DiskBlock { disk: 0, block: 0, data: &[0; DISK_BLOCK] }.encode();
        session.copies.hear(frame(FrameKind::DiskBlock, block)).unwrap_err();
    }
}

/// Why the comparison is given up when the secondary says this; none when it comes to its end.
fn told(disks: &Disks, frames: &[Frame]) -> Option<String> {
    let seeding = Seeding::of_disks(Link(1), Generation(1), disks).unwrap().unwrap();
    frames.iter().for_each(|frame| seeding.hear(frame).unwrap());
    loop {
        let mut ready = [PollFd::from_borrowed_fd(seeding.letters.descriptor(), PollFlags::IN)];
        poll(&mut ready, Some(&Timespec::try_from(PATIENCE).unwrap())).unwrap();
        seeding.letters.acknowledge();
        while let Some(letter) = seeding.letters.next() {
            match letter {
                Letter::Compared => return None,
                Letter::Failed(reason) => return Some(reason),
                _ => {}
            }
        }
    }
}

#[test]
fn a_peer_that_breaks_the_order_or_names_what_is_not_there_is_refused() {
    let content = contents(&mut Random::new(6));
    let (primary, secondary) =
        (Side::new(true, from_ref(&content), false), Side::new(false, from_ref(&content), false));
    let digests = |disk, first, count| {
        frame(FrameKind::DiskDigests, DiskDigests { disk, first, digests: vec![0; count] }.encode())
    };
    let bases =
        |disk, map_len| frame(FrameKind::DiskBases, DiskBases { disk, map_len, bases: Vec::new() }.encode());
    let right = [bases(0, 1), digests(0, 0, 10), digests(0, 10, 291)];
    assert_eq!(told(&primary.disks, &right), None);
    let wrong = [
        vec![bases(1, 1)],
        vec![digests(0, 0, 1)],
        vec![bases(0, 1), bases(0, 1)],
        vec![bases(0, 1), digests(0, 1, 1)],
        vec![bases(0, 1), digests(1, 0, 1)],
        vec![bases(0, 1), digests(0, 0, 302)],
        vec![bases(0, 1), digests(0, 0, 10), digests(0, 9, 1)],
    ];
    for frames in wrong {
        assert!(told(&primary.disks, &frames).is_some(), "{frames:?}");
    }

    let (mut copies, _heard) = start(&secondary.disks);
    let regions = |disk, len| frame(FrameKind::DiskRegions, DiskRegions { disk, map: vec![1; len] }.encode());
    for wrong in [regions(1, 1), regions(0, 2)] {
        copies.hear(wrong).unwrap_err();
    }
    copies.hear(regions(0, 1)).unwrap();
    copies.hear(regions(0, 1)).expect_err("twice");
    let block = |disk, block, len| {
        frame(FrameKind::DiskBlock, DiskBlock { disk, block, data: &vec![0; len] }.encode())
    };
    for wrong in [block(1, 0, DISK_BLOCK), block(0, 0, 512), block(0, 300, DISK_BLOCK), block(0, 301, 1)] {
        copies.hear(wrong).unwrap_err();
    }
    copies.hear(block(0, 300, 3 * 512)).unwrap();
}

mod luck;
