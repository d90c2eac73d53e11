//! Both ends of the comparison, with a wire that this thread is.

use std::{fs, path::PathBuf, slice::from_ref, sync::Arc, time::Duration};

use devices::{DiskOperation, DiskRequest, FIRST_DISK_SLOT, Output};
use ftlog::{DISK_BLOCK, DiskBlock, DiskMode, Shape, VmId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

use super::*;
use crate::{
    control::Board,
    demo::random::Random,
    disk::{DiskOption, Use, stamp::StampState},
    identity::VmIdentity,
    ingress::{Inbox, Room},
    link::{
        mailbox::{Mailbox, mailbox},
        secondary::{
            copies::{self, Copies, Writer},
            replica::Report,
        },
    },
    step::StopSwitch,
};

/// Not whole blocks, and more than one frame of digests.
const SECTORS: u64 = 300 * 128 + 3;
const PATIENCE: Duration = Duration::from_secs(30);

struct Side {
    disks: Disks,
    inbox: Arc<Inbox>,
    files: Vec<PathBuf>,
    _directory: TempDir,
}

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
        let (inbox, stop) = (Arc::new(Inbox::default()), StopSwitch::default());
        let disks = Disks::open(&options, Use::Pair, live, &inbox, &stop).unwrap();
        Self { disks, inbox, files, _directory: directory }
    }

    fn contents(&self) -> Vec<Vec<u8>> {
        self.files.iter().map(|file| fs::read(file).unwrap()).collect()
    }

    /// As a guest that writes all the time.
    fn write(&self, id: u64, random: &mut Random) {
        let data = vec![random.below(256) as u8; 512 * (1 + random.below(256)) as usize];
        let offset = 512 * random.below(SECTORS - data.len() as u64 / 512 + 1);
        let slot = FIRST_DISK_SLOT + random.below(self.files.len() as u64) as u8;
        let mut events = Vec::new();
        self.inbox.take(Room { frames: 0, console: 0 }, &mut events);
        let operation = DiskOperation::Write { offset, data };
        let mut outputs = vec![Output::Disk(DiskRequest { slot, id, operation })];
        self.disks.admit(&events, &mut outputs);
        for output in outputs {
            let Output::Disk(request) = output else { unreachable!() };
            self.disks.perform(request);
        }
    }
}

fn start(disks: &Disks, reports: Mailbox<Report>) -> (Copies, Writer) {
    let identity = VmIdentity { vm: VmId([1; 16]), shape: Shape::default(), wall_base_ns: 0 };
    let mark = identity.mark(Generation(1), StampState::Follower);
    Copies::start(disks, &mark, &[], reports, Board::default()).unwrap().unwrap()
}

fn frame(kind: FrameKind, body: Vec<u8>) -> Frame {
    Frame { kind, sequence: 0, offset: 0, body }
}

/// Something has come, or comes soon.
fn wait(resync: &Resync, copies: &Copies) {
    let ready = [resync.descriptor(), copies.descriptor()];
    let mut ready = ready.map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN));
    poll(&mut ready, Some(&Timespec::try_from(PATIENCE).unwrap())).unwrap();
    resync.letters.acknowledge();
    copies.letters.acknowledge();
}

/// Carries what the two say to each other, and calls `meanwhile` in between, until the primary has an end.
fn carry(resync: &mut Resync, copies: &Copies, mut meanwhile: impl FnMut()) -> Result<(), String> {
    loop {
        wait(resync, copies);
        meanwhile();
        while !resync.is_full()
            && let Some(letter) = copies.letters.next()
        {
            let copies::Letter::Digests(body) = letter else { panic!("the copy cannot be read") };
            resync.hear(&frame(FrameKind::DiskDigests, body)).unwrap();
        }
        while let Some(letter) = resync.letters.next() {
            match letter {
                Letter::Block(body) => copies.hear(&frame(FrameKind::DiskBlock, body)).unwrap(),
                Letter::Nearly => return Ok(()),
                Letter::Failed(reason) => return Err(reason),
            }
        }
        if !copies.letters.is_empty() {
            copies.letters.wake();
        }
    }
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
    let (reports, _heard) = mailbox().unwrap();
    let (copies, writer) = start(&secondary.disks, reports);
    let mut resync = Resync::start(Link(1), Generation(1), &primary.disks).unwrap().unwrap();
    let mut id = 0;
    carry(&mut resync, &copies, || {
        for _ in 0..3 {
            id += 1;
            primary.write(id, &mut random);
        }
    })
    .unwrap();
    assert!(primary.disks.wait_idle());
    let mut last = primary.disks.copies().unwrap();
    send_changes(&mut last, &mut |body| copies.hear(&frame(FrameKind::DiskBlock, body))).unwrap();
    drop(copies);
    writer.join().unwrap().unwrap();
    assert!(id > 3 && primary.contents() != ours);
    assert!(primary.contents() == secondary.contents(), "the copies differ");
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
        let (reports, _heard) = mailbox().unwrap();
        let (copies, _) = start(&secondary.disks, reports);
        let mut resync = Resync::start(Link(1), Generation(1), &primary.disks).unwrap().unwrap();
        let compared = carry(&mut resync, &copies, || {});
        assert_eq!(compared.is_ok(), equal, "{compared:?}");
        assert!(compared.err().is_none_or(|reason| reason.contains("read-only disk 0")));
        let block = DiskBlock { disk: 0, block: 0, data: &[0; DISK_BLOCK] }.encode();
        copies.hear(&frame(FrameKind::DiskBlock, block)).unwrap_err();
    }
}

#[test]
fn a_peer_that_breaks_the_order_or_names_what_is_not_there_is_refused() {
    let content = contents(&mut Random::new(6));
    let (primary, secondary) =
        (Side::new(true, from_ref(&content), false), Side::new(false, from_ref(&content), false));
    let mut resync = Resync::start(Link(1), Generation(1), &primary.disks).unwrap().unwrap();
    let digests = |disk, first, count| {
        frame(FrameKind::DiskDigests, DiskDigests { disk, first, digests: vec![0; count] }.encode())
    };
    resync.hear(&digests(0, 0, 10)).unwrap();
    for wrong in [digests(0, 0, 1), digests(0, 11, 1), digests(1, 10, 1), digests(0, 10, 292)] {
        assert_eq!(resync.hear(&wrong), Err(LossReason::Damaged));
    }
    resync.hear(&digests(0, 10, 291)).unwrap();
    assert_eq!(resync.hear(&digests(0, 301, 1)), Err(LossReason::Damaged));

    let (reports, _heard) = mailbox().unwrap();
    let (copies, _) = start(&secondary.disks, reports);
    let block = |disk, block, len| {
        frame(FrameKind::DiskBlock, DiskBlock { disk, block, data: &vec![0; len] }.encode())
    };
    for wrong in [block(1, 0, DISK_BLOCK), block(0, 0, 512), block(0, 300, DISK_BLOCK), block(0, 301, 1)] {
        copies.hear(&wrong).unwrap_err();
    }
    copies.hear(&block(0, 300, 3 * 512)).unwrap();
}
