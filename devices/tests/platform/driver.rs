//! A small virtio-net driver and a machine for it: what a guest does, in test code.

use devices::{Context, Output, Platform, PlatformConfig};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

pub const RAM_SIZE: usize = 0x10_0000;
pub const NET_BASE: u64 = 0xd000_0000;
pub const NET_VECTOR: u8 = 0x28;
pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

pub const RX: usize = 0;
pub const TX: usize = 1;

pub const EVENT_IDX: u64 = 1 << 29;
pub const INDIRECT: u64 = 1 << 28;
pub const VERSION_1: u64 = 1 << 32;
pub const F_MAC: u64 = 1 << 5;

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT_TABLE: u16 = 4;

pub const ACKNOWLEDGED: u32 = 1 | 2;
pub const FEATURES_OK: u32 = ACKNOWLEDGED | 8;
pub const DRIVER_OK: u32 = FEATURES_OK | 4;
pub const NEEDS_RESET: u32 = 0x40;

/// Registers of the transport.
pub mod register {
    pub const DEVICE_FEATURES: u64 = 0x10;
    pub const DEVICE_FEATURES_SEL: u64 = 0x14;
    pub const DRIVER_FEATURES: u64 = 0x20;
    pub const DRIVER_FEATURES_SEL: u64 = 0x24;
    pub const QUEUE_SEL: u64 = 0x30;
    pub const QUEUE_NUM_MAX: u64 = 0x34;
    pub const QUEUE_NUM: u64 = 0x38;
    pub const QUEUE_READY: u64 = 0x44;
    pub const QUEUE_NOTIFY: u64 = 0x50;
    pub const INTERRUPT_STATUS: u64 = 0x60;
    pub const INTERRUPT_ACK: u64 = 0x64;
    pub const STATUS: u64 = 0x70;
    pub const QUEUE_DESC_LOW: u64 = 0x80;
    pub const QUEUE_DESC_HIGH: u64 = 0x84;
    pub const QUEUE_DRIVER_LOW: u64 = 0x90;
    pub const QUEUE_DEVICE_LOW: u64 = 0xa0;
}
use register::*;

pub struct Machine {
    pub platform: Platform,
    pub memory: GuestMemoryMmap<()>,
    pub outputs: Vec<Output>,
    pub now_ns: u64,
    pub queue_size: u16,
    pub available: [u16; 2],
}

impl Machine {
    pub fn new() -> Self {
        let config = PlatformConfig { net_mac: Some(MAC), wall_base_ns: 1_700_000_000_000_000_000 };
        let mut machine = Machine {
            platform: Platform::new(&config),
            memory: GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM_SIZE)]).unwrap(),
            outputs: Vec::new(),
            now_ns: 0,
            queue_size: 16,
            available: [0; 2],
        };
        machine.out(0x510, 0);
        machine
    }

    /// A machine whose driver is ready, with `features` besides version 1.
    pub fn started(features: u64) -> Self {
        let mut machine = Machine::new();
        machine.start(features);
        machine
    }

    pub fn start(&mut self, features: u64) {
        self.negotiate(features);
        for queue in [RX, TX] {
            self.set_up_queue(queue);
            self.write(QUEUE_READY, 1);
        }
        self.write(STATUS, DRIVER_OK);
        assert_eq!(self.read(STATUS), DRIVER_OK);
    }

    pub fn negotiate(&mut self, features: u64) {
        let features = features | VERSION_1;
        self.write(STATUS, 0);
        self.write(STATUS, ACKNOWLEDGED);
        for (select, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.write(DRIVER_FEATURES_SEL, select);
            self.write(DRIVER_FEATURES, half);
        }
        self.write(STATUS, FEATURES_OK);
    }

    /// Writes the registers of `queue` but does not enable it; clears its rings.
    pub fn set_up_queue(&mut self, queue: usize) {
        self.available[queue] = 0;
        self.memory.write_slice(&[0; 0x6000], GuestAddress(table(queue))).unwrap();
        self.write(QUEUE_SEL, queue as u32);
        self.write(QUEUE_NUM, self.queue_size.into());
        self.write(QUEUE_DESC_LOW, table(queue) as u32);
        self.write(QUEUE_DRIVER_LOW, available(queue) as u32);
        self.write(QUEUE_DEVICE_LOW, used(queue) as u32);
    }

    pub fn context<R>(&mut self, action: impl FnOnce(&mut Platform, &mut Context) -> R) -> R {
        let mut ctx = Context { memory: &self.memory, now_ns: self.now_ns, outputs: &mut self.outputs };
        action(&mut self.platform, &mut ctx)
    }

    pub fn write(&mut self, register: u64, value: u32) {
        self.context(|platform, ctx| platform.mmio_write(ctx, NET_BASE + register, &value.to_le_bytes()));
    }

    pub fn read(&mut self, register: u64) -> u32 {
        let mut data = [0; 4];
        self.context(|platform, ctx| platform.mmio_read(ctx, NET_BASE + register, &mut data));
        u32::from_le_bytes(data)
    }

    pub fn out(&mut self, port: u16, value: u32) {
        self.context(|platform, ctx| platform.pio_write(ctx, port, 4, &value.to_le_bytes()));
    }

    pub fn input(&mut self, port: u16) -> u32 {
        let mut data = [0; 4];
        self.context(|platform, ctx| platform.pio_read(ctx, port, 4, &mut data));
        u32::from_le_bytes(data)
    }

    pub fn sync_point(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.context(|platform, ctx| platform.begin_sync_point(ctx));
    }

    pub fn receive(&mut self, frame: &[u8]) {
        self.context(|platform, ctx| platform.receive_frame(ctx, 0, frame));
    }

    pub fn notify(&mut self, queue: usize) {
        self.write(QUEUE_NOTIFY, queue as u32);
    }

    pub fn descriptor(&mut self, table: u64, index: u16, (address, len, flags, next): (u64, u32, u16, u16)) {
        let at = table + u64::from(index) * 16;
        self.memory.write_obj(address, GuestAddress(at)).unwrap();
        self.memory.write_obj(len, GuestAddress(at + 8)).unwrap();
        self.memory.write_obj(flags, GuestAddress(at + 12)).unwrap();
        self.memory.write_obj(next, GuestAddress(at + 14)).unwrap();
    }

    /// Makes the chain that starts with descriptor `head` available.
    pub fn offer(&mut self, queue: usize, head: u16) {
        let at = available(queue) + 4 + u64::from(self.available[queue] % self.queue_size) * 2;
        self.memory.write_obj(head, GuestAddress(at)).unwrap();
        self.set_available(queue, self.available[queue].wrapping_add(1));
    }

    pub fn set_available(&mut self, queue: usize, index: u16) {
        self.available[queue] = index;
        self.memory.write_obj(index, GuestAddress(available(queue) + 2)).unwrap();
    }

    pub fn set_available_flags(&mut self, queue: usize, flags: u16) {
        self.memory.write_obj(flags, GuestAddress(available(queue))).unwrap();
    }

    /// Index in the used ring at which the driver wants an interrupt (with EVENT_IDX).
    pub fn set_used_event(&mut self, queue: usize, index: u16) {
        let at = available(queue) + 4 + u64::from(self.queue_size) * 2;
        self.memory.write_obj(index, GuestAddress(at)).unwrap();
    }

    /// Index in the available ring at which the device wants a notification (with EVENT_IDX).
    pub fn available_event(&self, queue: usize) -> u16 {
        let at = used(queue) + 4 + u64::from(self.queue_size) * 8;
        self.memory.read_obj(GuestAddress(at)).unwrap()
    }

    /// Everything in the used ring since it was set up: head and length.
    pub fn used(&self, queue: usize) -> Vec<(u32, u32)> {
        let index: u16 = self.memory.read_obj(GuestAddress(used(queue) + 2)).unwrap();
        let entry = |at: u16| {
            let address = used(queue) + 4 + u64::from(at % self.queue_size) * 8;
            let [head, len]: [u32; 2] = self.memory.read_obj(GuestAddress(address)).unwrap();
            (head, len)
        };
        (0..index).map(entry).collect()
    }

    /// Puts a header and `frame` at `address` and makes them available in one descriptor.
    pub fn offer_frame(&mut self, index: u16, address: u64, frame: &[u8]) {
        self.memory.write_slice(&[0; 12], GuestAddress(address)).unwrap();
        self.memory.write_slice(frame, GuestAddress(address + 12)).unwrap();
        self.descriptor(table(TX), index, (address, 12 + frame.len() as u32, 0, 0));
        self.offer(TX, index);
    }

    pub fn memory_write(&mut self, address: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(address)).unwrap();
    }

    pub fn bytes(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }

    /// Frames the guest sent since this was last asked.
    pub fn sent(&mut self) -> Vec<Vec<u8>> {
        let frame = |output| match output {
            Output::Net { slot: 0, frame } => frame,
            other => panic!("unexpected output {other:?}"),
        };
        self.outputs.drain(..).map(frame).collect()
    }

    /// Whether the network device's line fired since this was last asked.
    pub fn interrupted(&mut self) -> bool {
        let vector = self.platform.pending_vector();
        vector.inspect(|vector| self.platform.acknowledge_interrupt(*vector));
        assert!([None, Some(NET_VECTOR)].contains(&vector), "unexpected interrupt {vector:x?}");
        vector.is_some()
    }
}

pub fn table(queue: usize) -> u64 {
    0x1_0000 * (queue as u64 + 1)
}

pub fn available(queue: usize) -> u64 {
    table(queue) + 0x2000
}

pub fn used(queue: usize) -> u64 {
    table(queue) + 0x4000
}

/// A frame of `len` bytes that differs from those of other seeds.
pub fn frame(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(31) ^ seed).collect()
}
