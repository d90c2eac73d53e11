//! The registers of the transport (virtio 1.2, section 4.2.2).

use virtio_bindings::bindings::virtio_config::{VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET};
use virtio_bindings::bindings::virtio_mmio::*;

use super::{MAGIC, Transport, VENDOR, VERSION, Written};
use crate::interrupts::InterruptController;
use crate::ram::Ram;
use crate::virtio::queue::{MAX_SIZE, Queue, QueueRegisters};
use crate::virtio::violation::Violation;

impl Transport {
    /// `None`: there is no such register to read, or not with this width.
    pub(in crate::virtio) fn read(&self, register: u64, data: &mut [u8]) -> Option<()> {
        if let Some(offset) = register.checked_sub(VIRTIO_MMIO_CONFIG.into()) {
            self.read_config(offset as usize, data);
            return Some(());
        }
        let data: &mut [u8; 4] = data.try_into().ok()?;
        *data = self.read_register(register as u32)?.to_le_bytes();
        Some(())
    }

    fn read_config(&self, offset: usize, data: &mut [u8]) {
        for (at, byte) in (offset..).zip(data) {
            *byte = self.model.config.get(at).copied().unwrap_or(0);
        }
    }

    fn read_register(&self, register: u32) -> Option<u32> {
        let value = match register {
            VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            VIRTIO_MMIO_VERSION => VERSION,
            VIRTIO_MMIO_DEVICE_ID => self.model.device_id,
            VIRTIO_MMIO_VENDOR_ID => VENDOR,
            VIRTIO_MMIO_DEVICE_FEATURES => half(self.device_features(), self.device_features_sel),
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

    /// `None`: there is no such register to write, or not with this width.
    pub(in crate::virtio) fn write(
        &mut self,
        register: u64,
        data: &[u8],
        memory: &Ram,
        interrupts: &mut InterruptController,
    ) -> Option<Written> {
        let register = u32::try_from(register).ok()?;
        let value = u32::from_le_bytes(data.try_into().ok()?);
        match register {
            VIRTIO_MMIO_QUEUE_NOTIFY => return Some(self.write_queue_notify(value, interrupts)),
            VIRTIO_MMIO_DEVICE_FEATURES_SEL => self.device_features_sel = value,
            VIRTIO_MMIO_DRIVER_FEATURES => self.write_driver_features(value),
            VIRTIO_MMIO_DRIVER_FEATURES_SEL => self.driver_features_sel = value,
            VIRTIO_MMIO_QUEUE_SEL => self.queue_sel = value,
            VIRTIO_MMIO_QUEUE_READY => self.write_queue_ready(value, memory, interrupts),
            VIRTIO_MMIO_INTERRUPT_ACK => self.interrupt_status &= !value,
            VIRTIO_MMIO_STATUS => self.write_status(value, interrupts),
            VIRTIO_MMIO_SHM_SEL => {}
            _ => self.write_queue_register(register, value)?,
        }
        Some(Written::Register)
    }

    fn write_queue_notify(&mut self, queue: u32, interrupts: &mut InterruptController) -> Written {
        if !self.active() {
            return Written::Register;
        }
        if queue as usize >= self.queues.len() {
            self.fail(Violation::NotifiedQueue { queue }, interrupts);
            return Written::Register;
        }
        Written::Notified(queue as usize)
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

    fn write_queue_ready(&mut self, value: u32, memory: &Ram, interrupts: &mut InterruptController) {
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
