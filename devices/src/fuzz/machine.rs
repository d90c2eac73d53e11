//! The machine that the operations are done on.

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::input::Operation;
use super::{Coverage, NET_BASE, RAM_SIZE};
use crate::{Context, Output, Platform, PlatformConfig};

/// Where [`Machine::start_driver`] puts descriptor table, available and used ring of queues 0 and 1.
const RINGS: [[u32; 3]; 2] = [[0x1000, 0x2000, 0x3000], [0x4000, 0x5000, 0x6000]];

/// A platform with its memory, and what it said.
pub(super) struct Machine {
    pub(super) platform: Platform,
    memory: GuestMemoryMmap<()>,
    pub(super) outputs: Vec<Output>,
    now_ns: u64,
    /// Indices in the available rings, as the driver counts them.
    available: [u16; 2],
    /// Size of the queues.
    size: u16,
    /// Descriptors of the table the driver will use next.
    next_descriptor: [u16; 2],
}

impl Machine {
    pub(super) fn new() -> Self {
        let config = PlatformConfig { net_mac: Some([2, 0, 0, 0, 0, 1]), wall_base_ns: 1 };
        Machine {
            platform: Platform::new(&config),
            memory: GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM_SIZE)])
                .expect("64 KiB can be mapped"),
            outputs: Vec::new(),
            now_ns: 0,
            available: [0; 2],
            size: 1,
            next_descriptor: [0; 2],
        }
    }

    pub(super) fn ram(&self) -> Vec<u8> {
        let mut ram = vec![0; RAM_SIZE];
        self.memory.read_slice(&mut ram, GuestAddress(0)).expect("all of it is RAM");
        ram
    }

    pub(super) fn save_and_restore(&mut self) {
        let state = self.platform.save();
        self.platform = Platform::restore(&state, &self.memory).expect("a saved state is accepted");
        assert_eq!(self.platform.save(), state);
    }

    /// Does `operation`; the result is all that the guest or the caller sees of it.
    pub(super) fn apply(
        &mut self,
        operation: &Operation,
        coverage: &mut Coverage,
    ) -> (Vec<u8>, Option<u8>, Option<u64>, usize) {
        let Machine { platform, memory, outputs, now_ns, .. } = self;
        let ctx = &mut Context { memory, now_ns: *now_ns, outputs };
        let mut answer = Vec::new();
        match operation {
            Operation::StartDriver { size, features } => self.start_driver(*size, *features),
            Operation::MmioWrite { register, value } => self.write_register(*register, *value),
            Operation::Notify { queue } => self.write_register(0x50, *queue),
            Operation::Chain { queue, descriptors } => self.offer_chain(*queue, descriptors),
            Operation::MmioRead { gpa, len } => {
                answer.resize(*len, 0);
                platform.mmio_read(ctx, *gpa, &mut answer);
            }
            Operation::PortWrite { port, size, data } => platform.pio_write(ctx, *port, *size, data),
            Operation::PortRead { port, size, len } => {
                answer.resize(*len, 0);
                platform.pio_read(ctx, *port, *size, &mut answer);
            }
            // Outside RAM there is nothing to poke.
            Operation::Poke { address, value } => drop(memory.write_obj(*value, GuestAddress(*address))),
            Operation::Frame { len } => {
                let before = platform.counters().received_frames_dropped;
                platform.receive_frame(ctx, 0, &vec![0xf5; *len]);
                coverage.received += 1 - (platform.counters().received_frames_dropped - before);
            }
            Operation::Console { len } => platform.receive_console(ctx, &vec![b'c'; *len]),
            Operation::SyncPoint { later_ns } => {
                ctx.now_ns = ctx.now_ns.saturating_add(*later_ns);
                platform.begin_sync_point(ctx);
                self.now_ns = ctx.now_ns;
            }
            Operation::Interrupt => {
                platform.pending_vector().inspect(|vector| platform.acknowledge_interrupt(*vector));
            }
        }
        let platform = &self.platform;
        let room = platform.net_receive_room(&self.memory);
        (answer, platform.pending_vector(), platform.next_deadline_ns(), room)
    }

    fn write_register(&mut self, register: u64, value: u32) {
        let ctx = &mut Context { memory: &self.memory, now_ns: self.now_ns, outputs: &mut self.outputs };
        self.platform.mmio_write(ctx, NET_BASE + register, &value.to_le_bytes());
    }

    /// What an orderly driver does first, with a size and features that may be wrong.
    fn start_driver(&mut self, size: u32, features: u32) {
        let negotiate = [(0x70, 0), (0x70, 3), (0x24, 1), (0x20, 1), (0x24, 0), (0x20, features), (0x70, 11)];
        negotiate.iter().for_each(|(register, value)| self.write_register(*register, *value));
        for (queue, [descriptors, available, used]) in (0..).zip(RINGS) {
            let set_up = [
                (0x30, queue),
                (0x38, size),
                (0x80, descriptors),
                (0x90, available),
                (0xa0, used),
                (0x44, 1),
            ];
            set_up.iter().for_each(|(register, value)| self.write_register(*register, *value));
            self.memory.write_obj(0u32, GuestAddress(available.into())).expect("the ring is in RAM");
        }
        self.write_register(0x70, 15);
        (self.available, self.next_descriptor, self.size) = ([0; 2], [0; 2], size as u16);
    }

    /// Puts `descriptors` into the table one after the other and makes the first of them available.
    fn offer_chain(&mut self, queue: usize, descriptors: &[[u8; 16]]) {
        let [table, available, _] = RINGS[queue].map(u64::from);
        let head = self.next_descriptor[queue];
        for descriptor in descriptors {
            let index = self.next_descriptor[queue];
            let mut bytes = *descriptor;
            // The input's successor is relative to the descriptor, so that most chains are whole.
            let next = u16::from_le_bytes([bytes[14], bytes[15]]).wrapping_add(index) % self.size;
            bytes[14..].copy_from_slice(&next.to_le_bytes());
            self.poke(table + u64::from(index) * 16, &bytes);
            self.next_descriptor[queue] = (index + 1) % self.size;
        }
        let at = self.available[queue];
        self.poke(available + 4 + u64::from(at % self.size) * 2, &head.to_le_bytes());
        self.available[queue] = at.wrapping_add(1);
        self.poke(available + 2, &self.available[queue].to_le_bytes());
    }

    fn poke(&mut self, address: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(address)).expect("the rings are in RAM");
    }
}
