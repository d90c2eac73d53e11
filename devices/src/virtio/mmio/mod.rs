//! The virtio transport over MMIO, version 2 (virtio 1.2, section 4.2), shared by all virtio devices.
//!
//! ```text
//! reset ──ACKNOWLEDGE, DRIVER──▶ features ──FEATURES_OK──▶ queues ──DRIVER_OK──▶ active
//!   ▲                                                                              │
//!   └──────────── status 0 ◀── DEVICE_NEEDS_RESET ◀── violation ───────────────────┘
//! ```

mod registers;
mod state;

use virtio_bindings::bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FAILED,
    VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_F_VERSION_1,
};
use virtio_bindings::bindings::virtio_mmio::{VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INT_VRING};
use virtio_bindings::bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;

use super::queue::Queue;
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

/// What a device is; nothing a driver does changes it.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub slot: u8,
    pub device_id: u32,
    /// Features that the device offers, besides version 1.
    pub offered: u64,
    /// Those of them without which it cannot work.
    pub required: u64,
    pub queues: u16,
    /// The configuration space; what lies behind it reads as zeroes.
    pub config: Vec<u8>,
}

/// What a write to a register was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is done with.
    Register,
    /// The driver of an active device says that this queue, which the device has, holds something new.
    Notified(usize),
}

/// Registers, status and queues of one virtio device.
#[derive(Debug)]
pub(crate) struct Transport {
    model: Model,
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
    /// The transport of a device after reset.
    pub(super) fn new(model: Model) -> Self {
        let queues = (0..model.queues).map(Queue::new).collect();
        Transport {
            model,
            device_features_sel: 0,
            driver_features: 0,
            driver_features_sel: 0,
            queue_sel: 0,
            status: 0,
            interrupt_status: 0,
            violation: None,
            queues,
        }
    }

    pub(super) fn reset(&mut self) {
        *self = Transport::new(self.model.clone());
    }

    /// The driver is ready and has not broken the protocol.
    pub(super) fn active(&self) -> bool {
        self.status & VIRTIO_CONFIG_S_DRIVER_OK != 0 && self.violation.is_none()
    }

    /// The device is active and has this queue.
    pub(super) fn serves(&self, queue: usize) -> bool {
        self.active() && self.queues[queue].enabled()
    }

    pub(super) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Ends a use of the queues: an interrupt if the driver wants one, or no more of this device until its reset.
    pub(super) fn finish(
        &mut self,
        wants_interrupt: Result<bool, Violation>,
        interrupts: &mut InterruptController,
    ) {
        match wants_interrupt {
            Ok(true) => self.interrupt(VIRTIO_MMIO_INT_VRING, interrupts),
            Ok(false) => {}
            Err(violation) => self.fail(violation, interrupts),
        }
    }

    fn fail(&mut self, violation: Violation, interrupts: &mut InterruptController) {
        self.violation.get_or_insert(violation);
        if self.status & VIRTIO_CONFIG_S_DRIVER_OK != 0 {
            self.interrupt(VIRTIO_MMIO_INT_CONFIG, interrupts);
        }
    }

    fn interrupt(&mut self, cause: u32, interrupts: &mut InterruptController) {
        self.interrupt_status |= cause;
        interrupts.raise(FIRST_LINE + self.model.slot);
    }

    fn device_features(&self) -> u64 {
        self.model.offered | 1 << VIRTIO_F_VERSION_1
    }

    fn features_acceptable(&self) -> bool {
        let required = self.model.required | 1 << VIRTIO_F_VERSION_1;
        self.driver_features & required == required && self.driver_features & !self.device_features() == 0
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
}
