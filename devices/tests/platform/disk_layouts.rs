//! The same request in every layout that a driver may choose (virtio 1.2, section 2.7.4).

use devices::{DiskOperation, DiskStatus};

use crate::disk_driver::*;
use crate::driver::*;

const BASE: u64 = 0x8_0000;

/// Cuts `len` bytes at `BASE` in pieces of the given lengths, over and over.
fn pieces(from: u64, len: u64, lengths: &[u64], flags: u16) -> Vec<(u64, u32, u16)> {
    let mut at = 0;
    let mut pieces = Vec::new();
    for piece in lengths.iter().cycle() {
        let piece = (*piece).min(len - at);
        pieces.push((BASE + from + at, piece as u32, flags));
        at += piece;
        if at == len {
            return pieces;
        }
    }
    unreachable!("the lengths go round");
}

/// How many of the buffers hold bytes from `start` to `end`.
fn overlapping(buffers: &[(u64, u32, u16)], start: u64, end: u64) -> usize {
    let overlaps = |(at, len, _): &&(u64, u32, u16)| *len > 0 && *at < end && *at + u64::from(*len) > start;
    buffers.iter().filter(overlaps).count()
}

/// Puts a chain of these buffers into the table at `table`, from descriptor 0 on.
fn write_chain(machine: &mut Machine, table: u64, buffers: &[(u64, u32, u16)]) {
    for (index, (address, len, flags)) in (0..).zip(buffers) {
        let next = if usize::from(index) + 1 < buffers.len() { NEXT } else { 0 };
        machine.descriptor(table, index, (*address, *len, flags | next, index + 1));
    }
}

/// A machine that made the request whose readable and writable bytes are cut up as told.
fn request(indirect: bool, buffers: &[(u64, u32, u16)], readable: &[u8]) -> Machine {
    let mut machine = Machine::new();
    (machine.slot, machine.queue_size) = (DISK, 256);
    machine.start(F_FLUSH | INDIRECT);
    machine.memory_write(BASE, readable);
    if indirect {
        write_chain(&mut machine, 0x7_0000, buffers);
        machine.descriptor(table(RING), 0, (0x7_0000, buffers.len() as u32 * 16, INDIRECT_TABLE, 0));
    } else {
        write_chain(&mut machine, table(RING), buffers);
    }
    machine.offer(RING, 0);
    machine.notify(0);
    assert_eq!(machine.violation(), None);
    machine
}

const CUTS: [&[u64]; 8] =
    [&[1 << 20], &[1, 4095], &[15, 17], &[16], &[0, 511, 0, 1, 512], &[16, 512], &[7], &[31, 33]];

#[test]
fn writes() {
    let data = frame(1024, 5);
    for cut in CUTS {
        for indirect in [false, true] {
            let mut buffers = pieces(0, 16 + 1024, cut, 0);
            buffers.extend([(BASE + 0x9000, 0, WRITE), (BASE + 0x9000, 1, WRITE), (BASE, 0, WRITE)]);
            let mut machine = request(indirect, &buffers, &[header(OUT, 4), data.clone()].concat());
            if overlapping(&buffers, BASE + 16, BASE + 1040) > 64 {
                assert_eq!(machine.bytes(BASE + 0x9000, 1), [1], "too many pieces");
                continue;
            }
            let expected = DiskOperation::Write { offset: 4 * 512, data: data.clone() };
            assert_eq!(machine.operations(), [(0, expected)], "{cut:?} {indirect}");
            machine.complete(0, DiskStatus::Ok, &[]);
            assert_eq!((machine.bytes(BASE + 0x9000, 2), machine.used(RING)), (vec![0, 0], vec![(0, 1)]));
        }
    }
}

#[test]
fn reads() {
    let data = frame(1024, 6);
    for cut in CUTS {
        for indirect in [false, true] {
            let mut buffers = pieces(0, 16, &[3], 0);
            buffers.extend(pieces(0x1000, 1024 + 1, cut, WRITE));
            let mut machine = request(indirect, &buffers, &header(IN, 4));
            if overlapping(&buffers, BASE + 0x1000, BASE + 0x1400) > 64 {
                assert_eq!(machine.bytes(BASE + 0x1400, 1), [1], "too many pieces");
                continue;
            }
            assert_eq!(machine.operations(), [(0, DiskOperation::Read { offset: 4 * 512, len: 1024 })]);
            machine.complete(0, DiskStatus::Ok, &data);
            assert_eq!(
                machine.bytes(BASE + 0x1000, 1026),
                [&data[..], &[0, 0]].concat(),
                "{cut:?} {indirect}"
            );
            assert_eq!(machine.used(RING), [(0, 1025)]);
        }
    }
}

#[test]
fn as_many_pieces_as_a_driver_may_have() {
    for (count, possible) in [(64, true), (65, false)] {
        // The first piece shares its descriptor with the end of the header, the last one with the status.
        let mut buffers = vec![(BASE, 16, 0), (BASE + 0x1000, 512 * 65 - 512 * (count - 1), WRITE)];
        buffers.extend((1..count).map(|at| (BASE + 0xa000 + u64::from(at) * 512, 512, WRITE)));
        buffers.last_mut().unwrap().1 += 1;
        let mut machine = request(true, &buffers, &header(IN, 0));
        let operations =
            if possible { vec![(0, DiskOperation::Read { offset: 0, len: 512 * 65 })] } else { vec![] };
        assert_eq!(machine.operations(), operations, "{count} pieces");
        assert_eq!(machine.used(RING).len(), usize::from(!possible));
    }
}

/// Descriptors are copied out once: what the driver changes afterwards is without effect.
#[test]
fn descriptors_changed_in_flight() {
    let mut machine = Machine::with_disk(DISK, 0);
    machine.request(0, IN, 0, &[], 512);
    machine.memory_write(table(RING), &[0xff; 16 * 16]);
    machine.memory_write(header_at(0), &[0xff; 16]);
    machine.complete(0, DiskStatus::Ok, &[4; 512]);
    assert_eq!((machine.violation(), machine.used(RING)), (None, vec![(0, 513)]));
    assert_eq!((machine.bytes(data_at(0), 512), machine.status_of(0)), (vec![4; 512], 0));
}
