//! What drivers do, right or wrong.

use vm_memory::{Bytes, GuestAddress};

use super::layout::SLOTS_BASE;
use super::machine::Machine;
use crate::Context;

/// Where [`Machine::start_driver`] puts descriptor table, available and used ring of the lanes.
const RINGS: [[u32; 3]; 2] = [[0x1000, 0x2000, 0x3000], [0x4000, 0x5000, 0x6000]];

/// Where a request's indirect table is put.
const INDIRECT_TABLE: u64 = 0xf000;

impl Machine {
    pub(super) fn write_register(&mut self, lane: usize, register: u64, value: u32) {
        let ctx = &mut Context { memory: &self.memory, now_ns: self.now_ns, outputs: &mut self.outputs };
        let gpa = SLOTS_BASE + u64::from(self.lanes[lane].slot) * 0x1000 + register;
        self.platform.mmio_write(ctx, gpa, &value.to_le_bytes());
    }

    /// What orderly drivers do first, with a size and features that may be wrong; no interrupt is masked.
    pub(super) fn start_driver(&mut self, size: u32, features: u32) {
        for lane in [0, 1] {
            // Only a disk has the features below the common ones, and a device is negotiated with once.
            let features = if self.lanes[lane].slot < 2 { features >> 24 << 24 } else { features };
            let negotiate =
                [(0x70, 0), (0x70, 3), (0x24, 1), (0x20, 1), (0x24, 0), (0x20, features), (0x70, 11)];
            if self.lanes[lane].queue == 0 {
                negotiate.iter().for_each(|(register, value)| self.write_register(lane, *register, *value));
            }
            self.start_queue(lane, size);
        }
        [0, 1].into_iter().for_each(|lane| self.write_register(lane, 0x70, 15));
        let ctx = &mut Context { memory: &self.memory, now_ns: self.now_ns, outputs: &mut self.outputs };
        self.platform.pio_write(ctx, 0x510, 4, &[0; 4]);
        (self.available, self.next_descriptor, self.size) = ([0; 2], [0; 2], size as u16);
    }

    fn start_queue(&mut self, lane: usize, size: u32) {
        let [descriptors, available, used] = RINGS[lane];
        let set_up = [
            (0x30, self.lanes[lane].queue),
            (0x38, size),
            (0x80, descriptors),
            (0x90, available),
            (0xa0, used),
            (0x44, 1),
        ];
        set_up.iter().for_each(|(register, value)| self.write_register(lane, *register, *value));
        self.memory.write_obj(0u32, GuestAddress(available.into())).expect("the ring is in RAM");
    }

    /// Makes a request to the disk, its descriptors in the queue's table or in one of their own.
    pub(super) fn offer_request(&mut self, descriptors: &[[u8; 16]], indirect: bool) {
        if !indirect {
            return self.offer_chain(0, descriptors);
        }
        let mut table = descriptors.concat();
        for (at, next) in (14..table.len()).step_by(16).zip(1u16..) {
            table[at..][..2].copy_from_slice(&next.to_le_bytes());
        }
        self.poke(INDIRECT_TABLE, &table);
        let mut whole = [0; 16];
        whole[..8].copy_from_slice(&INDIRECT_TABLE.to_le_bytes());
        whole[8..12].copy_from_slice(&(table.len() as u32).to_le_bytes());
        whole[12] = 4;
        self.offer_chain(0, &[whole]);
    }

    /// Puts `descriptors` into the table one after the other and makes the first of them available.
    pub(super) fn offer_chain(&mut self, lane: usize, descriptors: &[[u8; 16]]) {
        let [table, available, _] = RINGS[lane].map(u64::from);
        let head = self.next_descriptor[lane];
        for descriptor in descriptors {
            let index = self.next_descriptor[lane];
            let mut bytes = *descriptor;
            // The input's successor is relative to the descriptor, so that most chains are whole.
            let next = u16::from_le_bytes([bytes[14], bytes[15]]).wrapping_add(index) % self.size;
            bytes[14..].copy_from_slice(&next.to_le_bytes());
            self.poke(table + u64::from(index) * 16, &bytes);
            self.next_descriptor[lane] = (index + 1) % self.size;
        }
        let at = self.available[lane];
        self.poke(available + 4 + u64::from(at % self.size) * 2, &head.to_le_bytes());
        self.available[lane] = at.wrapping_add(1);
        self.poke(available + 2, &self.available[lane].to_le_bytes());
    }

    pub(super) fn poke(&mut self, address: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(address)).expect("the rings are in RAM");
    }
}
