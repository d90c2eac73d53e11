//! How long requests stay in flight, and how many of them.

use devices::{DiskOperation, DiskStatus, MAX_IN_FLIGHT_BYTES, MAX_REQUEST_BYTES, Platform};

use crate::disk_driver::*;
use crate::driver::register::*;
use crate::driver::*;

/// A ring full of the largest requests, none of them notified.
fn full_ring(kind: u32, features: u64) -> Machine {
    let mut machine = Machine::new();
    (machine.slot, machine.queue_size) = (DISK, 256);
    machine.start(F_FLUSH | features);
    machine.memory_write(header_at(0), &header(kind, 0));
    // They share header, data and status, which the driver may do where it does not care.
    let write = if kind == IN { WRITE } else { 0 };
    machine.descriptor(table(RING), 254, (data_at(0), MAX_REQUEST_BYTES, NEXT | write, 255));
    machine.descriptor(table(RING), 255, (status_at(0), 1, WRITE, 0));
    for head in 0..RING_FULL {
        machine.descriptor(table(RING), head, (header_at(0), 16, NEXT, 254));
        machine.offer(RING, head);
    }
    machine
}

/// Heads of a ring of 256 that [`full_ring`] offers.
const RING_FULL: u16 = 254;
/// The largest requests that a disk takes at one time.
const AT_ONCE: usize = (MAX_IN_FLIGHT_BYTES / MAX_REQUEST_BYTES as u64) as usize;

#[test]
fn a_full_queue_of_the_largest_requests_is_taken_as_answers_make_room() {
    for (kind, features) in [(IN, 0), (OUT, 0), (IN, EVENT_IDX), (OUT, EVENT_IDX)] {
        let mut machine = full_ring(kind, features);
        machine.notify(0);
        machine.notify(0);
        let data = if kind == IN { vec![7; MAX_REQUEST_BYTES as usize] } else { Vec::new() };
        let mut asked = Vec::new();
        for id in 0..u64::from(RING_FULL) {
            asked.extend(machine.operations());
            let left = usize::from(RING_FULL) - id as usize;
            assert_eq!(machine.platform.disk_requests_in_flight(), left.min(AT_ONCE), "at request {id}");
            machine.complete(id, DiskStatus::Ok, &data);
        }
        assert_eq!(machine.violation(), None);
        assert!(asked.iter().map(|(id, _)| *id).eq(0..u64::from(RING_FULL)), "each once, in order");
        assert_eq!(machine.used(RING).len(), usize::from(RING_FULL));
        assert!(machine.interrupted());
    }
}

#[test]
fn a_disk_that_is_full_is_asked_again_by_no_notification_after_an_answer() {
    let mut machine = full_ring(OUT, EVENT_IDX);
    machine.notify(0);
    for id in 0..u64::from(RING_FULL) {
        machine.complete(id, DiskStatus::Ok, &[]);
    }
    assert_eq!(machine.available_event(RING), RING_FULL, "the next request is notified again");
}

#[test]
fn a_disk_that_was_full_is_so_after_it_was_saved() {
    let mut machine = full_ring(IN, 0);
    machine.notify(0);
    let state = machine.platform.save();
    machine.platform = Platform::restore(&state, &machine.memory).unwrap();
    machine.disk_requests();
    machine.notify(0);
    assert_eq!(machine.disk_requests(), []);
    machine.complete(0, DiskStatus::IoError, &[]);
    assert_eq!(machine.operations().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [AT_ONCE as u64]);
}

#[test]
fn a_reset_forgets_requests_but_not_their_numbers() {
    let mut machine = Machine::with_disk(DISK, 0);
    machine.request(0, IN, 0, &[], 512);
    machine.start(F_FLUSH);
    assert_eq!(machine.platform.disk_requests_in_flight(), 0);
    machine.request(0, IN, 1, &[], 512);
    machine.complete(0, DiskStatus::Ok, &[7; 512]);
    assert_eq!((machine.used(RING), machine.status_of(0)), (vec![], UNANSWERED));
    machine.complete(1, DiskStatus::Ok, &[8; 512]);
    assert_eq!((machine.used(RING), machine.bytes(data_at(0), 1)), (vec![(0, 513)], vec![8]));
    assert_eq!(machine.operations().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_queue_that_is_taken_away_forgets_requests() {
    let mut machine = Machine::with_disk(DISK, 0);
    machine.request(0, IN, 0, &[], 512);
    machine.write(QUEUE_READY, 0);
    assert_eq!(machine.platform.disk_requests_in_flight(), 0);
    machine.write(QUEUE_READY, 1);
    machine.complete(0, DiskStatus::Ok, &[7; 512]);
    assert_eq!(
        (machine.used(RING), machine.status_of(0), machine.interrupted()),
        (vec![], UNANSWERED, false)
    );
}

#[test]
fn says_requests_in_flight_again_with_the_same_numbers() {
    let mut machine = Machine::with_disk(DISK, 0);
    for (head, kind, sent) in [(0, IN, 0), (3, OUT, 512), (6, FLUSH, 0), (9, OUT, 512)] {
        let wanted = if kind == IN { 512 } else { 0 };
        machine.request(head, kind, head.into(), &frame(sent, head as u8), wanted);
    }
    let mut requests = machine.disk_requests();
    machine.complete(1, DiskStatus::Ok, &[]);
    requests.remove(1);
    let state = machine.platform.save();
    machine.context(|platform, ctx| platform.reissue_disk_requests(ctx));
    assert_eq!(machine.disk_requests(), requests);
    assert_eq!(machine.platform.save(), state);

    machine.memory_write(data_at(9), &[9; 512]);
    machine.context(|platform, ctx| platform.reissue_disk_requests(ctx));
    let written = DiskOperation::Write { offset: 9 * 512, data: vec![9; 512] };
    assert_eq!(machine.operations()[2], (3, written), "the buffer as it is now");
}

#[test]
fn disks_do_not_mix() {
    let mut machine = Machine::with_disk(DISK, 0);
    machine.slot = READONLY_DISK;
    machine.start(0);
    machine.request(0, IN, 5, &[], 512);
    machine.slot = DISK;
    machine.request(3, IN, 6, &[], 512);
    let requests = machine.disk_requests();
    assert_eq!(
        requests.iter().map(|request| (request.slot, request.id)).collect::<Vec<_>>(),
        [(3, 0), (2, 0)]
    );
    machine.complete(0, DiskStatus::Ok, &[1; 512]);
    assert_eq!((machine.status_of(0), machine.status_of(3)), (UNANSWERED, 0));
    assert_eq!(machine.platform.disk_requests_in_flight(), 1);
    assert!(machine.interrupted());
    let disks: Vec<(u8, bool)> = machine.platform.disks().map(|(slot, disk)| (slot, disk.readonly)).collect();
    assert_eq!(disks, [(DISK, false), (READONLY_DISK, true)]);
}
