//! Disk drivers that break the protocol.

use devices::{DiskStatus, Violation};

use crate::disk_driver::*;
use crate::driver::*;

const BUFFER: u64 = 0x8_0000;

/// A machine with a request in flight that then made one of these descriptors.
fn send(descriptors: &[(u64, u32, u16, u16)]) -> Machine {
    let mut machine = Machine::with_disk(DISK, INDIRECT);
    machine.request(9, IN, 0, &[], 512);
    machine.memory_write(BUFFER, &header(OUT, 0));
    for (index, descriptor) in (0..).zip(descriptors) {
        machine.descriptor(table(RING), index, *descriptor);
    }
    machine.offer(RING, 0);
    machine.notify(0);
    machine
}

/// The device stopped, said so, forgot what was in flight, and works again after a reset.
#[track_caller]
fn assert_violated(machine: &mut Machine, expected: &Violation) {
    assert_eq!(machine.violation(), Some(expected));
    assert_eq!(machine.read(register::STATUS), DRIVER_OK | NEEDS_RESET);
    assert_ne!(machine.read(register::INTERRUPT_STATUS) & 2, 0);
    assert!(machine.interrupted());
    assert_eq!(machine.platform.disk_requests_in_flight(), 0);
    machine.outputs.clear();

    let used = machine.used(RING);
    machine.complete(0, DiskStatus::Ok, &[1; 512]);
    machine.notify(0);
    assert_eq!((machine.status_of(9), machine.used(RING)), (UNANSWERED, used));
    assert!(machine.outputs.is_empty() && !machine.interrupted(), "it does nothing until it is reset");

    machine.start(F_FLUSH);
    machine.request(0, FLUSH, 0, &[], 0);
    assert_eq!(machine.operations().len(), 1);
}

#[test]
fn readable_behind_writable() {
    let wrong = Violation::BufferDirection { queue: 0, head: 0 };
    let mut machine = send(&[(BUFFER, 16, NEXT, 1), (BUFFER, 1, NEXT | WRITE, 2), (BUFFER, 512, 0, 0)]);
    assert_violated(&mut machine, &wrong);
    let mut machine = send(&[(BUFFER, 0, NEXT | WRITE, 1), (BUFFER, 16, NEXT, 2), (BUFFER, 1, WRITE, 0)]);
    assert_violated(&mut machine, &wrong);
}

#[test]
fn no_room_for_header_or_status() {
    for (len, descriptors) in [
        (15, vec![(BUFFER, 15, NEXT, 1), (BUFFER, 512, WRITE, 0)]),
        (0, vec![(BUFFER, 512, WRITE, 0)]),
        (0, vec![(BUFFER, 0, 0, 0)]),
    ] {
        let expected = Violation::HeaderDoesNotFit { queue: 0, head: 0, len };
        assert_violated(&mut send(&descriptors), &expected);
    }
    let expected = Violation::StatusDoesNotFit { queue: 0, head: 0 };
    assert_violated(&mut send(&[(BUFFER, 528, 0, 0)]), &expected);
    assert_violated(&mut send(&[(BUFFER, 16, NEXT, 1), (BUFFER, 0, WRITE, 0)]), &expected);
}

#[test]
fn a_chain_that_the_device_has() {
    let mut machine = Machine::with_disk(DISK, 0);
    machine.request(9, IN, 0, &[], 512);
    machine.offer(RING, 9);
    machine.notify(0);
    assert_violated(&mut machine, &Violation::ChainInUse { queue: 0, head: 9 });

    let mut machine = Machine::with_disk(DISK, 0);
    for _ in 0..2 {
        machine.offer_request(9, FLUSH, 0, &[], 0);
    }
    machine.notify(0);
    assert_violated(&mut machine, &Violation::ChainInUse { queue: 0, head: 9 });
}

#[test]
fn outside_ram() {
    let end = RAM_SIZE as u64;
    for (address, len) in [(end - 511, 512), (end, 1), (u64::MAX, 1), (0, u32::MAX - 16)] {
        let mut machine =
            send(&[(BUFFER, 16, NEXT, 1), (address, len, NEXT | WRITE, 2), (BUFFER, 1, WRITE, 0)]);
        assert_violated(&mut machine, &Violation::BufferOutsideRam { queue: 0, head: 0, address, len });
    }
}

#[test]
fn chains_without_end() {
    let expected = Violation::ChainWithoutEnd { queue: 0, head: 0 };
    assert_violated(&mut send(&[(BUFFER, 16, NEXT, 0)]), &expected);
    assert_violated(&mut send(&[(BUFFER, 16, NEXT, 16)]), &expected);
    assert_violated(&mut send(&[(BUFFER, 17, INDIRECT_TABLE, 0)]), &expected);
    // Nearly 4 GiB of buffers, which end: too long, and so an error, but no violation.
    let mut machine = Machine::new();
    (machine.slot, machine.queue_size) = (DISK, 256);
    machine.start(F_FLUSH);
    for index in 0..255 {
        machine.descriptor(table(RING), index, (0, 0x10_0000, NEXT, index + 1));
    }
    machine.descriptor(table(RING), 255, (status_at(0), 1, WRITE, 0));
    machine.offer(RING, 0);
    machine.notify(0);
    assert_eq!((machine.violation(), machine.used(RING).len(), machine.outputs.len()), (None, 1, 0));
}

#[test]
fn more_chains_available_than_descriptors() {
    let mut machine = Machine::with_disk(DISK, 0);
    machine.request(9, IN, 0, &[], 512);
    machine.set_available(RING, 18);
    machine.notify(0);
    assert_violated(&mut machine, &Violation::AvailableIndex { queue: 0, next: 1 });
}

#[test]
fn notification_of_a_queue_that_is_not_there() {
    let mut machine = Machine::with_disk(DISK, 0);
    machine.request(9, IN, 0, &[], 512);
    machine.notify(1);
    assert_violated(&mut machine, &Violation::NotifiedQueue { queue: 1 });
}

/// Requests taken before the one that broke the protocol have been said, as on a real disk.
#[test]
fn requests_before_the_violation_are_carried_out() {
    let mut machine = Machine::with_disk(DISK, 0);
    machine.offer_request(9, OUT, 0, &[1; 512], 0);
    machine.offer(RING, 99);
    machine.notify(0);
    assert_eq!(machine.operations().len(), 1);
    assert_violated(&mut machine, &Violation::ChainWithoutEnd { queue: 0, head: 99 });
}
