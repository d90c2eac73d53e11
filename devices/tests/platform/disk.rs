//! Requests of an orderly driver, and their answers.

use devices::{DiskOperation, DiskStatus};

use crate::disk_driver::*;
use crate::driver::register::*;
use crate::driver::*;

#[test]
fn identity_features_and_configuration() {
    let mut machine = Machine::new();
    machine.slot = DISK;
    assert_eq!([0x00, 0x04, 0x08].map(|register| machine.read(register)), [0x7472_6976, 2, 2]);
    let offered = VERSION_1 | EVENT_IDX | INDIRECT | F_FLUSH | 1 << 1 | 1 << 2 | 1 << 6 | 1 << 13 | 1 << 14;
    assert_eq!(machine.offered(), offered);
    machine.slot = READONLY_DISK;
    assert_eq!(machine.offered(), offered | F_RO);
    machine.slot = DISK;

    let mut capacity = [0; 8];
    machine.context(|platform, ctx| platform.mmio_read(ctx, NET_BASE + 0x2100, &mut capacity));
    assert_eq!(u64::from_le_bytes(capacity), DISK_SECTORS);
    // size_max, seg_max, blk_size, num_queues; discard: sectors, segments, alignment; zeroes: sectors, segments.
    let words = [0x108, 0x10c, 0x114, 0x120, 0x124, 0x128, 0x12c, 0x130, 0x134].map(|at| machine.read(at));
    assert_eq!(words, [4096, 64, 512, 0, 1 << 18, 1, 8, 1 << 15, 1]);
    assert_eq!(machine.read(0x138), 1, "a write of zeroes may unmap");
    assert_eq!(machine.read(0x13c), 0);
    machine.slot = 4;
    assert_eq!(machine.read(0), u32::MAX, "there is no third disk");
}

/// Its driver would expect writes to be stable once they are completed.
#[test]
fn a_driver_without_flush_is_refused() {
    let mut machine = Machine::new();
    machine.slot = DISK;
    machine.negotiate(EVENT_IDX);
    assert_eq!(machine.read(STATUS), ACKNOWLEDGED);
    machine.negotiate(F_FLUSH);
    assert_eq!(machine.read(STATUS), FEATURES_OK);
    machine.slot = READONLY_DISK;
    machine.negotiate(F_RO);
    assert_eq!(machine.read(STATUS), FEATURES_OK, "nothing is written to be flushed");
}

#[test]
fn reads() {
    let mut machine = Machine::with_disk(DISK, 0);
    machine.request(0, IN, 9, &[], 1024);
    assert_eq!(machine.operations(), [(0, DiskOperation::Read { offset: 9 * 512, len: 1024 })]);
    assert_eq!((machine.used(RING), machine.platform.disk_requests_in_flight()), (vec![], 1));
    assert!(!machine.interrupted());

    let data = frame(1024, 3);
    machine.complete(0, DiskStatus::Ok, &data);
    assert_eq!(machine.bytes(data_at(0), 1024), data);
    assert_eq!((machine.status_of(0), machine.used(RING)), (0, vec![(0, 1025)]));
    assert!(machine.interrupted());
    assert_eq!(machine.read(INTERRUPT_STATUS), 1);
    assert_eq!((machine.platform.disk_requests_in_flight(), machine.outputs.len()), (0, 0));
}

#[test]
fn writes_what_the_buffer_holds_at_the_notification() {
    let mut machine = Machine::with_disk(DISK, 0);
    let data = frame(4096, 1);
    machine.request(0, OUT, DISK_SECTORS - 8, &data, 0);
    machine.memory_write(data_at(0), &[0; 4096]);
    let offset = (DISK_SECTORS - 8) * 512;
    assert_eq!(machine.operations(), [(0, DiskOperation::Write { offset, data })]);
    machine.complete(0, DiskStatus::Ok, b"a write brings no data");
    assert_eq!((machine.status_of(0), machine.used(RING)), (0, vec![(0, 1)]));
    assert!(machine.interrupted());
}

#[test]
fn flushes_discards_and_writes_zeroes() {
    let mut machine = Machine::with_disk(DISK, 0);
    machine.offer_request(0, FLUSH, 0, &[], 0);
    machine.offer_request(3, DISCARD, 0, &range(8, 1 << 18, 0), 0);
    machine.offer_request(6, WRITE_ZEROES, 0, &range(1, 1, 0), 0);
    machine.offer_request(9, WRITE_ZEROES, 0, &range(DISK_SECTORS - (1 << 15), 1 << 15, 1), 0);
    machine.notify(0);
    let zeroes = |offset, len, may_unmap| DiskOperation::WriteZeroes { offset, len, may_unmap };
    let expected = [
        (0, DiskOperation::Flush),
        (1, DiskOperation::Discard { offset: 4096, len: 128 << 20 }),
        (2, zeroes(512, 512, false)),
        (3, zeroes((DISK_SECTORS - (1 << 15)) * 512, 16 << 20, true)),
    ];
    assert_eq!(machine.operations(), expected);
    machine.complete(0, DiskStatus::Ok, &[]);
    machine.complete(1, DiskStatus::Unsupported, &[]);
    machine.complete(2, DiskStatus::IoError, &[]);
    machine.complete(3, DiskStatus::Ok, &[]);
    assert_eq!([0, 3, 6, 9].map(|head| machine.status_of(head)), [0, 2, 1, 0]);
    assert_eq!(machine.used(RING), [(0, 1), (3, 1), (6, 1), (9, 1)]);
}

#[test]
fn says_its_serial_number_at_once() {
    let mut machine = Machine::with_disk(READONLY_DISK, 0);
    let ring = machine.ring(0);
    machine.request(0, GET_ID, 0, &[], 20);
    assert_eq!(machine.bytes(data_at(0), 20), *b"second\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert!(machine.interrupted());
    machine.request(3, GET_ID, 7, &[], 3);
    machine.request(6, GET_ID, 7, &[], 30);
    assert_eq!(machine.bytes(data_at(3), 4), *b"sec\0");
    assert_eq!([0, 3, 6].map(|head| machine.status_of(head)), [0; 3]);
    // Between the 20 bytes and the status there is a gap, which the length does not cover.
    assert_eq!(machine.used(ring), [(0, 21), (3, 4), (6, 20)]);
    assert_eq!(machine.operations(), []);
}

#[test]
fn requests_are_answered_in_any_order() {
    let mut machine = Machine::with_disk(DISK, 0);
    for (head, sector) in [(0, 0), (3, 1), (6, 2), (9, 3)] {
        machine.offer_request(head, IN, sector, &[], 512);
    }
    machine.notify(0);
    assert_eq!(machine.operations().len(), 4);
    for id in [2, 0, 3, 1] {
        machine.complete(id, DiskStatus::Ok, &[id as u8 + 1; 512]);
    }
    assert_eq!(machine.used(RING), [(6, 513), (0, 513), (9, 513), (3, 513)]);
    assert_eq!([0, 3, 6, 9].map(|head| machine.bytes(data_at(head), 1)[0]), [1, 2, 3, 4]);
    // The chains are the driver's again.
    machine.request(6, FLUSH, 0, &[], 0);
    assert_eq!(machine.operations(), [(4, DiskOperation::Flush)]);
}

#[test]
fn answers_that_do_not_fit_are_errors_or_nothing() {
    let mut machine = Machine::with_disk(DISK, 0);
    for head in [0, 3, 6, 9] {
        machine.offer_request(head, IN, 0, &[], 512);
        machine.memory_write(data_at(head), &[0x55; 512]);
    }
    machine.notify(0);
    machine.outputs.clear();
    machine.complete(0, DiskStatus::Ok, &[1; 511]);
    machine.complete(1, DiskStatus::Ok, &[1; 513]);
    machine.complete(2, DiskStatus::Ok, &[]);
    machine.complete(3, DiskStatus::IoError, &[1; 512]);
    assert_eq!([0, 3, 6, 9].map(|head| machine.status_of(head)), [1; 4]);
    assert_eq!(machine.used(RING), [(0, 0), (3, 0), (6, 0), (9, 0)], "the data were not written");
    assert!([0, 3, 6, 9].iter().all(|head| machine.bytes(data_at(*head), 512) == [0x55; 512]));
    assert!(machine.interrupted());

    let state = machine.platform.save();
    for id in [0, 3, 4, u64::MAX] {
        machine.complete(id, DiskStatus::Ok, &[1; 512]);
    }
    for slot in [NET, RNG, READONLY_DISK, 4, 99] {
        machine.context(|platform, ctx| platform.complete_disk(ctx, slot, 4, DiskStatus::Ok, &[1; 512]));
    }
    assert_eq!(machine.platform.save(), state);
    assert!(!machine.interrupted());
}

#[test]
fn event_index_says_when_to_interrupt() {
    let mut machine = Machine::with_disk(DISK, EVENT_IDX);
    for head in [0, 3, 6, 9] {
        machine.offer_request(head, FLUSH, 0, &[], 0);
    }
    machine.notify(0);
    assert_eq!(machine.available_event(RING), 4, "the next request is to be notified");
    machine.set_used_event(RING, 2);
    let interrupts = [0, 1, 2, 3].map(|id| {
        machine.complete(id, DiskStatus::Ok, &[]);
        machine.interrupted()
    });
    assert_eq!(interrupts, [false, false, true, false]);

    machine.set_used_event(RING, 5);
    machine.offer_request(0, GET_ID, 0, &[], 20);
    machine.offer_request(3, GET_ID, 0, &[], 20);
    machine.notify(0);
    assert!(machine.interrupted(), "requests answered at once are one batch");
}

#[test]
fn rings_go_round_and_their_indices_wrap() {
    let mut machine = Machine::with_disk(DISK, EVENT_IDX);
    for round in 0..70_000u64 {
        let head = (round % 5 * 3) as u16;
        machine.set_used_event(RING, round as u16);
        machine.request(head, IN, round, &[], 512);
        assert_eq!(machine.operations(), [(round, DiskOperation::Read { offset: round * 512, len: 512 })]);
        machine.complete(round, DiskStatus::Ok, &[round as u8; 512]);
        assert_eq!((machine.bytes(data_at(head), 1)[0], machine.status_of(head)), (round as u8, 0));
        assert!(machine.interrupted(), "round {round}");
    }
}
