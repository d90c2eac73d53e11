//! The MMIO transport (virtio 1.2, section 4.2). Each register access is one VM exit.
#![allow(unsafe_code)] // Device registers are volatile memory outside RAM.

use super::rings::QueueAddresses;

const SLOT_0: usize = 0xd000_0000;
const SLOT_BYTES: usize = 0x1000;

const MAGIC: u32 = u32::from_le_bytes(*b"virt");
const VERSION: u32 = 2;

// Register offsets.
const MAGIC_VALUE: usize = 0x000;
const DEVICE_VERSION: usize = 0x004;
const DEVICE_ID: usize = 0x008;
const DEVICE_FEATURES: usize = 0x010;
const DEVICE_FEATURES_SELECT: usize = 0x014;
const DRIVER_FEATURES: usize = 0x020;
const DRIVER_FEATURES_SELECT: usize = 0x024;
const QUEUE_SELECT: usize = 0x030;
const QUEUE_SIZE_MAX: usize = 0x034;
const QUEUE_SIZE: usize = 0x038;
const QUEUE_READY: usize = 0x044;
const QUEUE_NOTIFY: usize = 0x050;
const STATUS: usize = 0x070;
const QUEUE_DESCRIPTORS: usize = 0x080;
const QUEUE_AVAILABLE: usize = 0x090;
const QUEUE_USED: usize = 0x0a0;
const CONFIG: usize = 0x100;

// Status bits.
const ACKNOWLEDGE: u32 = 1;
const DRIVER: u32 = 2;
const DRIVER_OK: u32 = 4;
const FEATURES_OK: u32 = 8;

/// A device in a slot.
pub(super) struct Transport {
    base: usize,
}

impl Transport {
    /// The device in `slot`, reset, if there is one of kind `device_id`.
    pub fn find(slot: usize, device_id: u32) -> Option<Self> {
        let transport = Self { base: SLOT_0 + slot * SLOT_BYTES };
        let found = transport.read(MAGIC_VALUE) == MAGIC
            && transport.read(DEVICE_VERSION) == VERSION
            && transport.read(DEVICE_ID) == device_id;
        found.then(|| {
            transport.write(STATUS, 0);
            transport.write(STATUS, ACKNOWLEDGE | DRIVER);
            transport
        })
    }

    /// Accepts what the device has of `wanted`, and says what that is; `None` when it lacks some of `needed`.
    pub fn negotiate(&self, needed: u64, wanted: u64) -> Option<u64> {
        let mut accepted = 0;
        for half in 0..2 {
            self.write(DEVICE_FEATURES_SELECT, half);
            let offered = self.read(DEVICE_FEATURES) & (wanted >> (32 * half)) as u32;
            self.write(DRIVER_FEATURES_SELECT, half);
            self.write(DRIVER_FEATURES, offered);
            accepted |= u64::from(offered) << (32 * half);
        }
        self.write(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
        let agreed = accepted & needed == needed && self.read(STATUS) & FEATURES_OK != 0;
        agreed.then_some(accepted)
    }

    /// Hands queue `index` to the device; whether the device takes a queue of that size.
    pub fn set_up_queue(&self, index: u32, size: u32, addresses: QueueAddresses) -> bool {
        self.write(QUEUE_SELECT, index);
        if self.read(QUEUE_SIZE_MAX) < size {
            return false;
        }
        self.write(QUEUE_SIZE, size);
        self.write_address(QUEUE_DESCRIPTORS, addresses.descriptors);
        self.write_address(QUEUE_AVAILABLE, addresses.available);
        self.write_address(QUEUE_USED, addresses.used);
        self.write(QUEUE_READY, 1);
        true
    }

    /// Lets the device work.
    pub fn start(&self) {
        self.write(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }

    /// Tells the device to look at queue `index`.
    pub fn notify(&self, index: u32) {
        self.write(QUEUE_NOTIFY, index);
    }

    /// A byte of the device's configuration.
    pub fn config_u8(&self, offset: usize) -> u8 {
        // SAFETY: as for `read`.
        unsafe { ((self.base + CONFIG + offset) as *const u8).read_volatile() }
    }

    /// 64 bits of the device's configuration, of a field that never changes.
    pub fn config_u64(&self, offset: usize) -> u64 {
        let half = |offset| u64::from(self.read(CONFIG + offset));
        half(offset) | half(offset + 4) << 32
    }

    fn write_address(&self, register: usize, address: usize) {
        self.write(register, address as u32);
        self.write(register + 4, (address >> 32) as u32);
    }

    fn read(&self, register: usize) -> u32 {
        // SAFETY: the slots lie outside RAM and the heap; an access there reaches the device or nothing.
        unsafe { ((self.base + register) as *const u32).read_volatile() }
    }

    fn write(&self, register: usize, value: u32) {
        // SAFETY: as for `read`.
        unsafe { ((self.base + register) as *mut u32).write_volatile(value) }
    }
}
