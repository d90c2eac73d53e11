//! Sessions that come to nothing, and those after them.

use std::{fs, sync::Arc, time::Duration};

use ftlog::{DISK_BLOCK, DiskMode, Generation, Shape, VmId};
use replay::StopSwitch;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

use super::*;
use crate::{
    disk::{DiskOption, Use, stamp::StampState},
    identity::VmIdentity,
    ingress::Inbox,
    link::mailbox::mailbox,
};

const BLOCKS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(30);

/// This side, with one disk.
struct Side {
    disks: Disks,
    directory: TempDir,
}

impl Side {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("disk");
        fs::write(&path, vec![0; BLOCKS * DISK_BLOCK]).unwrap();
        let option = DiskOption { path, mode: DiskMode::Replicated, readonly: false };
        let (inbox, stop) = (Arc::new(Inbox::default()), StopSwitch::default());
        let disks = Disks::open(&[option], Use::Pair, false, &inbox, &stop).unwrap();
        Self { disks, directory }
    }

    fn begin(&self, generation: u64) -> (Copies, Letters<Report>) {
        let (reports, heard) = mailbox().unwrap();
        let identity = VmIdentity { vm: VmId([1; 16]), shape: Shape::default(), wall_base_ns: 0 };
        let mark = identity.mark(Generation(generation), StampState::Follower);
        let copies = Copies::start(&self.disks, &mark, &[], reports, Board::default()).unwrap().unwrap();
        (copies, heard)
    }

    fn stamp(&self) -> Option<(StampState, Generation)> {
        let stamp = self.disks.stamps().unwrap().remove(0);
        stamp.map(|stamp| (stamp.state, stamp.generation))
    }

    fn content(&self) -> Vec<u8> {
        fs::read(self.directory.path().join("disk")).unwrap()
    }
}

fn block(block: u64, with: u8) -> Frame {
    let body = DiskBlock { disk: 0, block, data: &[with; DISK_BLOCK] }.encode();
    Frame { kind: FrameKind::DiskBlock, sequence: 0, offset: 0, body }
}

/// Waits for the next report; none when nobody can send one any more.
fn report(heard: &Letters<Report>) -> Report {
    let mut ready = [PollFd::from_borrowed_fd(heard.descriptor(), PollFlags::IN)];
    assert_eq!(poll(&mut ready, Some(&Timespec::try_from(PATIENCE).unwrap())).unwrap(), 1, "no report");
    heard.acknowledge();
    heard.next().expect("it has rung")
}

#[test]
fn a_session_that_is_given_up_is_over_at_once_and_leaves_nothing_to_the_next() {
    let side = Side::new();
    // As a disk that takes nothing for now.
    let comparison = side.disks.comparison();
    let stuck = comparison.lock().unwrap();
    let (mut first, first_heard) = side.begin(1);
    (0..BLOCKS as u64).for_each(|number| first.hear(block(number, 0xaa)).unwrap());
    first.finish();
    drop(first);
    let (mut second, second_heard) = side.begin(2);
    second.hear(block(1, 0xbb)).unwrap();
    second.finish();
    drop(stuck);
    assert!(matches!(report(&second_heard), Report::Copied));
    // Whichever of the two came first.
    drop(comparison.lock().unwrap());
    let mut expected = vec![0; BLOCKS * DISK_BLOCK];
    expected[DISK_BLOCK..2 * DISK_BLOCK].fill(0xbb);
    assert!(side.content() == expected, "something of the session that was given up was written");
    assert_eq!(side.stamp(), Some((StampState::Follower, Generation(2))));
    assert!(first_heard.is_empty(), "nothing is said of it");
}

#[test]
fn a_copy_that_cannot_be_written_is_told_before_all_has_come() {
    let side = Side::new();
    let (copies, heard) = side.begin(1);
    // Its stamp has no place to go.
    fs::remove_dir_all(side.directory.path()).unwrap();
    copies.queue.push(Block::Body(block(0, 0xaa).body));
    match report(&heard) {
        Report::Unusable(reason) => assert!(reason.contains("copy of disk 0 cannot be written"), "{reason}"),
        _ => panic!("something else"),
    }
}
