//! Guests that ask for more than they may, of six disks at once and without a device that keeps them within bounds: as
//! one that resets its disks again and again.

use std::{fs::File, sync::Arc, thread};

use devices::{
    DiskOperation, DiskRequest, DiskStatus, FIRST_DISK_SLOT, MAX_DISKS, MAX_REQUEST_BYTES, Output,
};
use ftlog::{DiskMode, Event};
use replay::Room;
use replay::StopSwitch;
use tempfile::TempDir;

use super::{MAX_HELD_BYTES, SHARE};
use crate::{
    disk::{DiskOption, Disks, Use},
    ingress::Inbox,
};

/// Requests to each disk: 384 MiB to all of them.
const REQUESTS: u64 = 256;
const LEN: u64 = MAX_REQUEST_BYTES as u64;

struct Six {
    disks: Disks,
    inbox: Arc<Inbox>,
    _directory: TempDir,
}

impl Six {
    fn new(mode: DiskMode, live: bool) -> Self {
        let directory = TempDir::new().unwrap();
        let option = |index: usize| {
            let path = directory.path().join(index.to_string());
            File::create(&path).unwrap().set_len(4 * LEN).unwrap();
            DiskOption { path, mode, readonly: false }
        };
        let options: Vec<_> = (0..MAX_DISKS).map(option).collect();
        let inbox = Arc::new(Inbox::default());
        let disks = Disks::open(&options, Use::Pair, live, &inbox, &StopSwitch::default()).unwrap();
        Self { disks, inbox, _directory: directory }
    }

    /// A sync point at which the guest asks this and is told nothing.
    fn ask(&self, request: DiskRequest) {
        let mut outputs = vec![Output::Disk(request)];
        self.disks.admit(&[], &mut outputs);
        assert!(self.disks.held() <= MAX_HELD_BYTES);
        for output in outputs {
            let Output::Disk(request) = output else { unreachable!() };
            self.disks.perform(request);
        }
    }

    /// Sync points at which the guest is told the next answers, until it had so many: how many of them were good.
    fn take(&self, count: u64) -> u64 {
        let room = Room { frames: 0, console: 0 };
        let (mut taken, mut good, mut events) = (0, 0, Vec::new());
        while taken < count {
            self.inbox.wait(room, None);
            self.inbox.take(room, &mut events);
            self.disks.admit(&events, &mut Vec::new());
            taken += events.len() as u64;
            good += events.drain(..).filter(is_good).count() as u64;
            assert!(self.disks.held() <= MAX_HELD_BYTES);
        }
        assert_eq!(taken, count, "each is answered once");
        good
    }
}

fn is_good(event: &Event) -> bool {
    matches!(event, Event::DiskDone { status, .. } if *status == DiskStatus::Ok as u8)
}

/// All requests, to the disks by turns. Those to a disk overlap.
fn flood(operation: impl Fn(u64) -> DiskOperation) -> impl Iterator<Item = DiskRequest> {
    let ids = (0..REQUESTS).map(move |id| (id, operation(id)));
    ids.flat_map(|(id, operation)| {
        let slots = FIRST_DISK_SLOT..FIRST_DISK_SLOT + MAX_DISKS as u8;
        slots.map(move |slot| DiskRequest { slot, id, operation: operation.clone() })
    })
}

fn read(id: u64) -> DiskOperation {
    DiskOperation::Read { offset: id % 4 * LEN, len: MAX_REQUEST_BYTES }
}

fn write(id: u64) -> DiskOperation {
    DiskOperation::Write { offset: id % 4 * LEN, data: vec![id as u8; LEN as usize] }
}

const ALL: u64 = REQUESTS * MAX_DISKS as u64;

#[test]
fn reads_of_a_guest_that_takes_no_answers_are_refused_and_all_are_answered() {
    for mode in [DiskMode::Replicated, DiskMode::Shared] {
        let six = Six::new(mode, true);
        flood(read).for_each(|request| six.ask(request));
        assert!(six.disks.wait_idle());
        assert_eq!(six.disks.held(), SHARE / LEN * LEN, "they wait in the inbox");
        assert_eq!(six.take(ALL), SHARE / LEN);
        assert_eq!(six.disks.held(), 0);
        six.ask(DiskRequest { slot: FIRST_DISK_SLOT, id: REQUESTS, operation: read(0) });
        assert_eq!(six.take(1), 1, "it is served again");
    }
}

#[test]
fn replicated_writes_are_awaited_and_all_are_done() {
    let six = Six::new(DiskMode::Replicated, true);
    // The guest takes no answers, of reads that the writes have to come after.
    flood(read).for_each(|request| six.ask(request));
    let after = |request: DiskRequest| DiskRequest { id: request.id + REQUESTS, ..request };
    flood(write).for_each(|request| six.ask(after(request)));
    assert_eq!(six.take(2 * ALL), SHARE / LEN + ALL);
    assert_eq!(six.disks.held(), 0);
}

#[test]
fn a_secondarys_copies_are_awaited_too() {
    let six = Six::new(DiskMode::Replicated, false);
    for request in flood(write) {
        six.disks.copy(request, &StopSwitch::default());
        assert!(six.disks.held() <= SHARE);
    }
    assert!(six.disks.wait_idle());
    assert_eq!(six.disks.held(), 0);
}

#[test]
fn shared_writes_that_may_not_leave_are_refused_and_all_are_answered() {
    let six = Six::new(DiskMode::Shared, true);
    six.disks.fence().close();
    flood(write).for_each(|request| six.ask(request));
    assert_eq!(six.disks.held(), SHARE / LEN * LEN, "nothing has left");
    thread::scope(|scope| {
        // They leave late, while the guest already takes its answers.
        scope.spawn(|| {
            six.disks.fence().open();
            six.disks.look_at_fence();
        });
        assert_eq!(six.take(ALL), SHARE / LEN);
    });
    assert_eq!(six.disks.held(), 0);
}

#[test]
fn what_is_given_up_or_fails_is_not_held() {
    let six = Six::new(DiskMode::Shared, true);
    six.disks.fence().close();
    six.ask(DiskRequest { slot: FIRST_DISK_SLOT, id: 1, operation: write(0) });
    six.ask(DiskRequest {
        slot: FIRST_DISK_SLOT,
        id: 2,
        operation: DiskOperation::Read { offset: 1 << 40, len: 512 },
    });
    assert_eq!(six.take(1), 0, "beyond the end");
    assert_eq!(six.disks.held(), LEN);
    six.disks.fence().shut();
    six.disks.look_at_fence();
    assert!(six.disks.wait_idle());
    assert_eq!(six.disks.held(), 0);
}
