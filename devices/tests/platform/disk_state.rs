//! Saved state of disks and of the source of random bytes: what is refused, and going on after a restore.

use devices::{
    DiskState, DiskStatus, PendingOperation, PendingRequest, Platform, PlatformState, Segment, StateError,
};

use crate::disk_driver::*;
use crate::driver::*;

/// A machine with five requests in flight and a wish for random bytes.
pub fn busy() -> Machine {
    let mut machine = Machine::with_disk(DISK, EVENT_IDX);
    machine.request(0, IN, 5, &[], 1024);
    machine.request(3, OUT, 6, &frame(512, 1), 0);
    machine.request(6, FLUSH, 0, &[], 0);
    machine.request(9, DISCARD, 0, &range(8, 8, 0), 0);
    machine.request(12, WRITE_ZEROES, 0, &range(8, 8, 1), 0);
    machine.slot = RNG;
    machine.start(0);
    machine.descriptor(table(2), 0, (0xa_0000, 64, WRITE, 0));
    machine.offer(2, 0);
    machine.notify(0);
    machine.slot = DISK;
    machine
}

fn disk(state: &mut PlatformState) -> &mut DiskState {
    &mut state.virtio.disks[0]
}

fn request(state: &mut PlatformState, at: usize) -> &mut PendingRequest {
    &mut disk(state).in_flight[at]
}

#[track_caller]
fn assert_refused(change: impl Fn(&mut PlatformState), is_expected: impl Fn(&StateError) -> bool) {
    let machine = busy();
    let mut state = machine.platform.save();
    change(&mut state);
    let Err(error) = Platform::restore(&state, &machine.memory) else { panic!("not refused: {state:?}") };
    assert!(is_expected(&error), "{error}");
}

#[test]
fn refuses_disks_that_cannot_be() {
    let shape = |error: &StateError| matches!(error, StateError::Disk { slot: DISK, .. });
    assert_refused(|state| disk(state).config.sectors = u64::MAX, shape);
    assert_refused(|state| disk(state).config.id = "x".repeat(21), shape);
    let count = |error: &StateError| matches!(error, StateError::DiskCount { found: 7 });
    assert_refused(|state| state.virtio.disks = vec![disk(state).clone(); 7], count);

    let transport = |error: &StateError| matches!(error, StateError::Transport { slot: DISK, .. });
    assert_refused(|state| disk(state).transport.driver_features &= !F_FLUSH, transport);
    let serving = |error: &StateError| matches!(error, StateError::NotServing { slot: DISK });
    assert_refused(|state| disk(state).transport.queues[0].next = None, serving);
    assert_refused(|state| disk(state).transport.status = FEATURES_OK, serving);
    let serving = |error: &StateError| matches!(error, StateError::NotServing { slot: RNG });
    assert_refused(|state| state.virtio.rng.transport.status = FEATURES_OK, serving);
}

#[test]
fn refuses_requests_that_are_not_a_queue() {
    let requests = |error: &StateError| matches!(error, StateError::Requests { slot: DISK, .. });
    assert_refused(|state| disk(state).next_id = 4, requests);
    assert_refused(|state| disk(state).next_id = u64::MAX, requests);
    assert_refused(|state| disk(state).in_flight.swap(0, 1), requests);
    assert_refused(|state| request(state, 1).id = 0, requests);
    let many = |state: &mut PlatformState| {
        let one = request(state, 2).clone();
        let each = |id| PendingRequest { id, head: id as u16, ..one.clone() };
        (disk(state).in_flight, disk(state).next_id) = ((0..17).map(each).collect(), 17);
    };
    assert_refused(many, requests);
    let head = |error: &StateError| matches!(error, StateError::Request { slot: DISK, id: 1 });
    assert_refused(|state| request(state, 1).head = 0, head);
    assert_refused(|state| request(state, 1).head = 16, head);
}

#[test]
fn refuses_requests_the_device_would_not_take() {
    let refused = |error: &StateError| matches!(error, StateError::Request { slot: DISK, .. });
    assert_refused(|state| disk(state).config.sectors = 6, refused);
    assert_refused(|state| disk(state).config.readonly = true, refused);
    assert_refused(|state| request(state, 0).status = RAM_SIZE as u64, refused);
    assert_refused(|state| request(state, 0).status = u64::MAX, refused);
    assert_refused(|state| request(state, 0).segments[0].len = 512 * 3 - 1, refused);
    assert_refused(|state| request(state, 0).segments[0].len = (256 << 10) + 512, refused);
    assert_refused(|state| request(state, 0).segments[0].address = RAM_SIZE as u64 - 1023, refused);
    assert_refused(|state| request(state, 0).segments[0].address = u64::MAX, refused);
    assert_refused(|state| request(state, 0).segments.push(Segment { address: 0, len: 0 }), refused);
    assert_refused(|state| request(state, 0).segments.clear(), refused);
    assert_refused(|state| request(state, 1).segments = vec![Segment { address: 0, len: 512 }; 65], refused);
    assert_refused(|state| request(state, 2).segments.push(Segment { address: 0, len: 512 }), refused);
    for at in 0..5 {
        for operation in [
            PendingOperation::Read { offset: 1 },
            PendingOperation::Write { offset: !511 },
            PendingOperation::Write { offset: DISK_SECTORS * 512 },
            PendingOperation::Discard { offset: 0, len: 0 },
            PendingOperation::Discard { offset: 0, len: (128 << 20) + 512 },
            PendingOperation::Discard { offset: 512, len: DISK_SECTORS * 512 },
            PendingOperation::WriteZeroes { offset: 0, len: (16 << 20) + 512, may_unmap: true },
            PendingOperation::WriteZeroes { offset: 0, len: 511, may_unmap: false },
        ] {
            assert_refused(|state| request(state, at).operation = operation.clone(), refused);
        }
    }
}

#[test]
fn a_restored_disk_goes_on_where_the_other_was() {
    let (mut machine, restored) = (busy(), busy());
    let platform = Platform::restore(&restored.platform.save(), &restored.memory).unwrap();
    let mut restored = Machine { platform, ..restored };
    assert_eq!(restored.platform.disk_requests_in_flight(), 5);
    for machine in [&mut machine, &mut restored] {
        machine.context(|platform, ctx| platform.reissue_disk_requests(ctx));
        machine.complete(0, DiskStatus::Ok, &frame(1024, 9));
        machine.complete(2, DiskStatus::IoError, &[]);
        machine.complete(9, DiskStatus::Ok, &[]);
        let wanted = machine.platform.entropy_wanted(&machine.memory);
        machine.context(|platform, ctx| platform.receive_entropy(ctx, &frame(wanted, 3)));
        machine.request(6, IN, 1, &[], 512);
    }
    assert_eq!(machine.outputs, restored.outputs);
    assert_eq!(machine.platform.save(), restored.platform.save());
    assert_eq!(machine.bytes(0, RAM_SIZE), restored.bytes(0, RAM_SIZE));
    assert_eq!(machine.used(RING), [(0, 1025), (6, 1)]);
    assert_eq!(machine.bytes(0xa_0000, 64), frame(64, 3));
}
