//! The virtio transport over MMIO, version 2 (virtio 1.2, section 4.2), shared by all virtio devices.
//!
//! ```text
//! reset ──ACKNOWLEDGE, DRIVER──▶ features ──FEATURES_OK──▶ queues ──DRIVER_OK──▶ active
//!   ▲                                                                              │
//!   └──────────── status 0 ◀── DEVICE_NEEDS_RESET ◀── violation ───────────────────┘
//! ```

mod state;

use virtio_bindings::bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FAILED,
    VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_F_VERSION_1,
};
use virtio_bindings::bindings::virtio_mmio::*;
use virtio_bindings::bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vm_memory::GuestMemoryMmap;

use super::queue::{MAX_SIZE, Queue, QueueRegisters};
use super::violation::Violation;
use crate::interrupts::InterruptController;
pub use state::TransportState;

const BASE: u64 = 0xd000_0000;
const SLOT_SIZE: u64 = 0x1000;
/// As many as there are interrupt lines for them.
const SLOTS: u64 = 24;
const FIRST_LINE: u8 = 8;

const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
/// "ftvm", little-endian.
const VENDOR: u32 = 0x6d76_7466;

/// The bits a driver sets in the status.
const DRIVER_STATUS: u32 = VIRTIO_CONFIG_S_ACKNOWLEDGE
    | VIRTIO_CONFIG_S_DRIVER
    | VIRTIO_CONFIG_S_DRIVER_OK
    | VIRTIO_CONFIG_S_FEATURES_OK
    | VIRTIO_CONFIG_S_FAILED;

/// The virtio slot at `gpa` and the offset into it.
pub(crate) fn register_of(gpa: u64) -> Option<(u8, u64)> {
    let offset = gpa.checked_sub(BASE)?;
    (offset < SLOTS * SLOT_SIZE).then_some(((offset / SLOT_SIZE) as u8, offset % SLOT_SIZE))
}

/// Registers, status and queues of one virtio device.
#[derive(Debug)]
pub(crate) struct Transport {
    slot: u8,
    device_id: u32,
    device_features: u64,
    device_features_sel: u32,
    driver_features: u64,
    driver_features_sel: u32,
    queue_sel: u32,
    /// The bits the driver set; the device's own bit is that there is a violation.
    status: u32,
    interrupt_status: u32,
    violation: Option<Violation>,
    pub(super) queues: Vec<Queue>,
}

impl Transport {
    /// The transport of a device after reset. `device_features` are what the device offers, besides version
    /// 1.
    pub(super) fn new(slot: u8, device_id: u32, device_features: u64, queues: u16) -> Self {
        Transport {
            slot,
            device_id,
            device_features: device_features | 1 << VIRTIO_F_VERSION_1,
            device_features_sel: 0,
            driver_features: 0,
            driver_features_sel: 0,
            queue_sel: 0,
            status: 0,
            interrupt_status: 0,
            violation: None,
            queues: (0..queues).map(Queue::new).collect(),
        }
    }

    fn reset(&mut self) {
        let queues = self.queues.len() as u16;
        *self = Transport::new(self.slot, self.device_id, self.device_features, queues);
    }

    /// The driver is ready and has not broken the protocol.
    pub(super) fn active(&self) -> bool {
        self.status & VIRTIO_CONFIG_S_DRIVER_OK != 0 && self.violation.is_none()
    }

    pub(super) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Stops the device until its reset.
    pub(super) fn fail(&mut self, violation: Violation, interrupts: &mut InterruptController) {
        self.violation.get_or_insert(violation);
        if self.status & VIRTIO_CONFIG_S_DRIVER_OK != 0 {
            self.interrupt(VIRTIO_MMIO_INT_CONFIG, interrupts);
        }
    }

    /// Tells the driver that buffers were used.
    pub(super) fn interrupt_used(&mut self, interrupts: &mut InterruptController) {
        self.interrupt(VIRTIO_MMIO_INT_VRING, interrupts);
    }

    fn interrupt(&mut self, cause: u32, interrupts: &mut InterruptController) {
        self.interrupt_status |= cause;
        interrupts.raise(FIRST_LINE + self.slot);
    }

    /// A register other than the configuration space; `None`: there is no such register to read.
    pub(super) fn read(&self, register: u32) -> Option<u32> {
        let value = match register {
            VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            VIRTIO_MMIO_VERSION => VERSION,
            VIRTIO_MMIO_DEVICE_ID => self.device_id,
            VIRTIO_MMIO_VENDOR_ID => VENDOR,
            VIRTIO_MMIO_DEVICE_FEATURES => half(self.device_features, self.device_features_sel),
            VIRTIO_MMIO_QUEUE_NUM_MAX => self.selected().map_or(0, |_| MAX_SIZE.into()),
            VIRTIO_MMIO_QUEUE_READY => self.selected().is_some_and(Queue::enabled).into(),
            VIRTIO_MMIO_INTERRUPT_STATUS => self.interrupt_status,
            VIRTIO_MMIO_STATUS if self.violation.is_some() => self.status | VIRTIO_CONFIG_S_NEEDS_RESET,
            VIRTIO_MMIO_STATUS => self.status,
            // No device has shared memory, which a length of all ones says.
            VIRTIO_MMIO_SHM_LEN_LOW | VIRTIO_MMIO_SHM_LEN_HIGH => u32::MAX,
            VIRTIO_MMIO_SHM_BASE_LOW | VIRTIO_MMIO_SHM_BASE_HIGH => u32::MAX,
            // Nothing in a configuration space ever changes.
            VIRTIO_MMIO_CONFIG_GENERATION => 0,
            _ => return None,
        };
        Some(value)
    }

    /// A register other than QueueNotify and the configuration space; `None`: there is no such register to
    /// write.
    pub(super) fn write(
        &mut self,
        register: u32,
        value: u32,
        memory: &GuestMemoryMmap<()>,
        interrupts: &mut InterruptController,
    ) -> Option<()> {
        match register {
            VIRTIO_MMIO_DEVICE_FEATURES_SEL => self.device_features_sel = value,
            VIRTIO_MMIO_DRIVER_FEATURES => self.write_driver_features(value),
            VIRTIO_MMIO_DRIVER_FEATURES_SEL => self.driver_features_sel = value,
            VIRTIO_MMIO_QUEUE_SEL => self.queue_sel = value,
            VIRTIO_MMIO_QUEUE_READY => self.write_queue_ready(value, memory, interrupts),
            VIRTIO_MMIO_INTERRUPT_ACK => self.interrupt_status &= !value,
            VIRTIO_MMIO_STATUS => self.write_status(value, interrupts),
            VIRTIO_MMIO_SHM_SEL => {}
            _ => return self.write_queue_register(register, value),
        }
        Some(())
    }

    fn selected(&self) -> Option<&Queue> {
        self.queues.get(self.queue_sel as usize)
    }

    /// Which features the driver accepts is open until FEATURES_OK.
    fn write_driver_features(&mut self, value: u32) {
        if self.status & VIRTIO_CONFIG_S_FEATURES_OK == 0 {
            set_half(&mut self.driver_features, self.driver_features_sel, value);
        }
    }

    fn features_acceptable(&self) -> bool {
        let version_1 = self.driver_features & 1 << VIRTIO_F_VERSION_1 != 0;
        version_1 && self.driver_features & !self.device_features == 0
    }

    fn event_idx(&self) -> bool {
        self.driver_features & 1 << VIRTIO_RING_F_EVENT_IDX != 0
    }

    /// Section 2.1: writing 0 resets, otherwise bits are only added, FEATURES_OK before DRIVER_OK.
    /// FEATURES_OK does not stick when the device cannot work with the features.
    fn write_status(&mut self, written: u32, interrupts: &mut InterruptController) {
        if written == 0 {
            return self.reset();
        }
        if self.violation.is_some() {
            return;
        }
        let mut status = written & DRIVER_STATUS;
        if !self.features_acceptable() {
            status &= !VIRTIO_CONFIG_S_FEATURES_OK;
        }
        let cleared = self.status & !status != 0;
        let out_of_order =
            status & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FEATURES_OK) == VIRTIO_CONFIG_S_DRIVER_OK;
        if cleared || out_of_order {
            return self.fail(Violation::Status { status: self.status, written }, interrupts);
        }
        self.status = status;
    }

    fn write_queue_ready(
        &mut self,
        value: u32,
        memory: &GuestMemoryMmap<()>,
        interrupts: &mut InterruptController,
    ) {
        let (event_idx, negotiated) = (self.event_idx(), self.status & VIRTIO_CONFIG_S_FEATURES_OK != 0);
        let Some(queue) = self.queues.get_mut(self.queue_sel as usize) else { return };
        let result = match value {
            0 => {
                queue.disable();
                Ok(())
            }
            _ if queue.enabled() => Ok(()),
            _ if !negotiated => Err(Violation::QueueBeforeFeatures { queue: queue.index() }),
            _ => queue.enable(memory, event_idx),
        };
        if let Err(violation) = result {
            self.fail(violation, interrupts);
        }
    }

    /// The registers of the selected queue; they cannot be changed while it is enabled.
    fn write_queue_register(&mut self, register: u32, value: u32) -> Option<()> {
        let mut nowhere = Queue::new(0).registers;
        let registers: &mut QueueRegisters = match self.queues.get_mut(self.queue_sel as usize) {
            Some(queue) if !queue.enabled() => &mut queue.registers,
            _ => &mut nowhere,
        };
        match register {
            VIRTIO_MMIO_QUEUE_NUM => registers.size = value,
            VIRTIO_MMIO_QUEUE_DESC_LOW => set_half(&mut registers.descriptors, 0, value),
            VIRTIO_MMIO_QUEUE_DESC_HIGH => set_half(&mut registers.descriptors, 1, value),
            VIRTIO_MMIO_QUEUE_AVAIL_LOW => set_half(&mut registers.available, 0, value),
            VIRTIO_MMIO_QUEUE_AVAIL_HIGH => set_half(&mut registers.available, 1, value),
            VIRTIO_MMIO_QUEUE_USED_LOW => set_half(&mut registers.used, 0, value),
            VIRTIO_MMIO_QUEUE_USED_HIGH => set_half(&mut registers.used, 1, value),
            _ => return None,
        }
        Some(())
    }
}

/// Half `select` of a 64-bit register, 0 where there is none.
fn half(value: u64, select: u32) -> u32 {
    match select {
        0 => value as u32,
        1 => (value >> 32) as u32,
        _ => 0,
    }
}

fn set_half(register: &mut u64, select: u32, value: u32) {
    match select {
        0 => *register = *register & !0xffff_ffff | u64::from(value),
        1 => *register = *register & 0xffff_ffff | u64::from(value) << 32,
        _ => {}
    }
}
