//! A machine and the common part of its virtio drivers: what a guest does, in test code.

use devices::{Context, DiskConfig, NetConfig, Output, Platform, PlatformConfig, Ram, Violation};
use vm_memory::{Bytes, GuestAddress};

pub const RAM_SIZE: usize = 0x10_0000;
pub const NET_BASE: u64 = 0xd000_0000;
pub const NET: u8 = 0;
pub const RNG: u8 = 1;
pub const DISK: u8 = 2;
pub const READONLY_DISK: u8 = 3;
/// Size of both disks.
pub const DISK_SECTORS: u64 = 1 << 20;
pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
pub const CONFIG: NetConfig = NetConfig { mac: MAC, mtu: 1500 };

/// The network device's queues, and where the rings of queues are.
pub const RX: usize = 0;
pub const TX: usize = 1;

pub const EVENT_IDX: u64 = 1 << 29;
pub const INDIRECT: u64 = 1 << 28;
pub const VERSION_1: u64 = 1 << 32;
pub const F_MAC: u64 = 1 << 5;
pub const F_MTU: u64 = 1 << 3;

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

pub use crate::layout::{available, table, used};

pub struct Machine {
    /// The virtio slot that the driver drives.
    pub slot: u8,
    pub platform: Platform,
    pub memory: Ram,
    pub outputs: Vec<Output>,
    pub now_ns: u64,
    pub queue_size: u16,
    pub available: [u16; 5],
}

impl Machine {
    pub fn new() -> Self {
        Machine::with_net(CONFIG)
    }

    pub fn with_net(net: NetConfig) -> Self {
        let disk = |readonly, id: &str| DiskConfig { sectors: DISK_SECTORS, readonly, id: id.into() };
        let disks = vec![disk(false, "first"), disk(true, "second")];
        let config = PlatformConfig {
            net: Some(net),
            disks,
            wall_base_ns: 1_700_000_000_000_000_000,
            on_panic: devices::OnPanic::Halt,
        };
        let mut machine = Machine {
            slot: NET,
            platform: Platform::new(&config),
            memory: Ram::from_ranges(&[(GuestAddress(0), RAM_SIZE)]).unwrap(),
            outputs: Vec::new(),
            now_ns: 0,
            queue_size: 16,
            available: [0; 5],
        };
        machine.out(0x510, 0);
        machine
    }

    /// A machine whose network driver is ready, with `features` besides version 1.
    pub fn started(features: u64) -> Self {
        let mut machine = Machine::new();
        machine.start(features);
        machine
    }

    /// Gets the driver of `slot` ready.
    pub fn start(&mut self, features: u64) {
        self.negotiate(features);
        let queues = if self.slot == NET { 2 } else { 1 };
        for queue in 0..queues {
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
        let ring = self.ring(queue);
        self.available[ring] = 0;
        self.memory.write_slice(&[0; 0x6000], GuestAddress(table(ring))).unwrap();
        self.write(QUEUE_SEL, queue as u32);
        self.write(QUEUE_NUM, self.queue_size.into());
        self.write(QUEUE_DESC_LOW, table(ring) as u32);
        self.write(QUEUE_DRIVER_LOW, available(ring) as u32);
        self.write(QUEUE_DEVICE_LOW, used(ring) as u32);
    }

    /// Where the rings of a queue are: behind those of the slots before.
    pub fn ring(&self, queue: usize) -> usize {
        usize::from(self.slot) + usize::from(self.slot != NET) + queue
    }

    pub fn context<R>(&mut self, action: impl FnOnce(&mut Platform, &mut Context) -> R) -> R {
        let mut ctx = Context { memory: &self.memory, now_ns: self.now_ns, outputs: &mut self.outputs };
        action(&mut self.platform, &mut ctx)
    }

    pub fn write(&mut self, register: u64, value: u32) {
        let gpa = self.base() + register;
        self.context(|platform, ctx| platform.mmio_write(ctx, gpa, &value.to_le_bytes()));
    }

    pub fn read(&mut self, register: u64) -> u32 {
        let (mut data, gpa) = ([0; 4], self.base() + register);
        self.context(|platform, ctx| platform.mmio_read(ctx, gpa, &mut data));
        u32::from_le_bytes(data)
    }

    fn base(&self) -> u64 {
        NET_BASE + u64::from(self.slot) * 0x1000
    }

    /// The features that the device offers.
    pub fn offered(&mut self) -> u64 {
        let mut half = |select| {
            self.write(DEVICE_FEATURES_SEL, select);
            u64::from(self.read(DEVICE_FEATURES))
        };
        half(0) | half(1) << 32
    }

    pub fn violation(&self) -> Option<&Violation> {
        self.platform.violation(self.slot)
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

    /// Whether the device's line fired since this was last asked.
    pub fn interrupted(&mut self) -> bool {
        let vector = self.platform.pending_vector();
        vector.inspect(|vector| self.platform.acknowledge_interrupt(*vector));
        assert!([None, Some(0x28 + self.slot)].contains(&vector), "unexpected interrupt {vector:x?}");
        vector.is_some()
    }
}

/// A frame of `len` bytes that differs from those of other seeds.
pub fn frame(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(31) ^ seed).collect()
}
