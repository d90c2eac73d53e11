//! The rings of a queue, from the driver's side.

use vm_memory::{Bytes, GuestAddress};

use crate::driver::Machine;
use crate::layout::{available, used};

impl Machine {
    pub fn descriptor(&mut self, table: u64, index: u16, (address, len, flags, next): (u64, u32, u16, u16)) {
        let at = table + u64::from(index) * 16;
        self.memory.write_obj(address, GuestAddress(at)).unwrap();
        self.memory.write_obj(len, GuestAddress(at + 8)).unwrap();
        self.memory.write_obj(flags, GuestAddress(at + 12)).unwrap();
        self.memory.write_obj(next, GuestAddress(at + 14)).unwrap();
    }

    /// Makes the chain that starts with descriptor `head` available.
    pub fn offer(&mut self, ring: usize, head: u16) {
        let at = available(ring) + 4 + u64::from(self.available[ring] % self.queue_size) * 2;
        self.memory.write_obj(head, GuestAddress(at)).unwrap();
        self.set_available(ring, self.available[ring].wrapping_add(1));
    }

    pub fn set_available(&mut self, ring: usize, index: u16) {
        self.available[ring] = index;
        self.memory.write_obj(index, GuestAddress(available(ring) + 2)).unwrap();
    }

    pub fn set_available_flags(&mut self, ring: usize, flags: u16) {
        self.memory.write_obj(flags, GuestAddress(available(ring))).unwrap();
    }

    /// Index in the used ring at which the driver wants an interrupt (with EVENT_IDX).
    pub fn set_used_event(&mut self, ring: usize, index: u16) {
        let at = available(ring) + 4 + u64::from(self.queue_size) * 2;
        self.memory.write_obj(index, GuestAddress(at)).unwrap();
    }

    /// Index in the available ring at which the device wants a notification (with EVENT_IDX).
    pub fn available_event(&self, ring: usize) -> u16 {
        let at = used(ring) + 4 + u64::from(self.queue_size) * 8;
        self.memory.read_obj(GuestAddress(at)).unwrap()
    }

    /// Everything in the used ring since it was set up: head and length.
    pub fn used(&self, ring: usize) -> Vec<(u32, u32)> {
        let index: u16 = self.memory.read_obj(GuestAddress(used(ring) + 2)).unwrap();
        let entry = |at: u16| {
            let address = used(ring) + 4 + u64::from(at % self.queue_size) * 8;
            let [head, len]: [u32; 2] = self.memory.read_obj(GuestAddress(address)).unwrap();
            (head, len)
        };
        (0..index).map(entry).collect()
    }
}
