//! Requests that are whole, but that no disk of this shape can carry out.

use crate::disk_driver::*;
use crate::driver::*;

const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

/// Answered at once with this status and without an output; the device works on.
#[track_caller]
fn assert_refused(slot: u8, kind: u32, sector: u64, sent: &[u8], wanted: u32, status: u8) {
    let mut machine = Machine::with_disk(slot, 0);
    machine.memory_write(data_at(0), &[0x55; 512]);
    machine.request(0, kind, sector, sent, wanted);
    assert_eq!(machine.violation(), None);
    assert_eq!(machine.operations(), []);
    assert_eq!(machine.status_of(0), status);
    let written = u32::from(wanted == 0);
    assert_eq!(machine.used(machine.ring(0)), [(0, written)], "the data were not written");
    assert!(machine.interrupted());
    machine.request(3, IN, 0, &[], 512);
    assert_eq!(machine.operations().len(), 1);
}

#[test]
fn beyond_the_end() {
    let end = DISK_SECTORS;
    for (sector, sectors) in
        [(end, 1), (end - 1, 2), (u64::MAX, 1), (1 << 55, 1), ((1 << 55) - 1, 1), (u64::MAX / 512, 2)]
    {
        assert_refused(DISK, IN, sector, &[], sectors * 512, IO_ERROR);
        assert_refused(DISK, OUT, sector, &vec![1; sectors as usize * 512], 0, IO_ERROR);
        assert_refused(DISK, DISCARD, 0, &range(sector, sectors, 0), 0, IO_ERROR);
        assert_refused(DISK, WRITE_ZEROES, 0, &range(sector, sectors, 1), 0, IO_ERROR);
    }
}

#[test]
fn of_another_length() {
    for len in [1, 511, 513, (256 << 10) + 512, (256 << 10) + 1] {
        assert_refused(DISK, IN, 0, &[], len, IO_ERROR);
        assert_refused(DISK, OUT, 0, &vec![1; len as usize], 0, IO_ERROR);
    }
    for kind in [IN, OUT, DISCARD, WRITE_ZEROES] {
        assert_refused(DISK, kind, 0, &[], 0, IO_ERROR);
    }
    for kind in [DISCARD, WRITE_ZEROES] {
        let two = [range(0, 8, 0), range(16, 8, 0)].concat();
        assert_refused(DISK, kind, 0, &two, 0, IO_ERROR);
        assert_refused(DISK, kind, 0, &two[..15], 0, IO_ERROR);
        assert_refused(DISK, kind, 0, &range(0, 0, 0), 0, IO_ERROR);
    }
    assert_refused(DISK, DISCARD, 0, &range(0, (1 << 18) + 1, 0), 0, IO_ERROR);
    assert_refused(DISK, WRITE_ZEROES, 0, &range(0, (1 << 15) + 1, 0), 0, IO_ERROR);
}

#[test]
fn with_data_in_the_wrong_direction() {
    assert_refused(DISK, IN, 0, &[1; 512], 0, IO_ERROR);
    for kind in [OUT, FLUSH, DISCARD, WRITE_ZEROES] {
        assert_refused(DISK, kind, 0, &[], 512, IO_ERROR);
    }
    assert_refused(DISK, FLUSH, 0, &[1; 512], 0, IO_ERROR);
}

#[test]
fn to_write_a_disk_that_is_read_only() {
    assert_refused(READONLY_DISK, OUT, 0, &[1; 512], 0, IO_ERROR);
    assert_refused(READONLY_DISK, DISCARD, 0, &range(0, 8, 0), 0, IO_ERROR);
    assert_refused(READONLY_DISK, WRITE_ZEROES, 0, &range(0, 8, 0), 0, IO_ERROR);
}

#[test]
fn of_an_unknown_type_or_with_unknown_flags() {
    for kind in [2, 3, 5, 9, 10, 12, 14, 15, 24, 1 << 31, 1 << 31 | 1, u32::MAX] {
        assert_refused(DISK, kind, 0, &[], 0, UNSUPPORTED);
        assert_refused(DISK, kind, 0, &[1; 512], 0, UNSUPPORTED);
        assert_refused(DISK, kind, 0, &[], 512, UNSUPPORTED);
    }
    for flags in [1, 2, u32::MAX] {
        assert_refused(DISK, DISCARD, 0, &range(0, 8, flags), 0, UNSUPPORTED);
    }
    for flags in [2, 3, u32::MAX] {
        assert_refused(DISK, WRITE_ZEROES, 0, &range(0, 8, flags), 0, UNSUPPORTED);
    }
}
