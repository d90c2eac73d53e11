//! Saved state of the transport.

use serde::{Deserialize, Serialize};
use virtio_bindings::bindings::virtio_config::{VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK};
use virtio_bindings::bindings::virtio_mmio::{VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INT_VRING};

use super::{DRIVER_STATUS, Transport};
use crate::ram::Ram;
use crate::state::StateError;
use crate::virtio::queue::{Queue, QueueState};
use crate::virtio::violation::Violation;

/// Saved state of a virtio transport: the registers as the driver wrote them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransportState {
    /// DeviceFeaturesSel.
    pub device_features_sel: u32,
    /// What the driver accepted.
    pub driver_features: u64,
    /// DriverFeaturesSel.
    pub driver_features_sel: u32,
    /// QueueSel.
    pub queue_sel: u32,
    /// The status bits the driver set.
    pub status: u32,
    /// InterruptStatus.
    pub interrupt_status: u32,
    /// Why the device needs a reset, if it does.
    pub violation: Option<Violation>,
    /// Every queue of the device.
    pub queues: Vec<QueueState>,
}

impl Transport {
    pub(in crate::virtio) fn save(&self) -> TransportState {
        let Self {
            model: _,
            device_features_sel,
            driver_features,
            driver_features_sel,
            queue_sel,
            status,
            interrupt_status,
            violation,
            queues,
        } = self;
        TransportState {
            device_features_sel: *device_features_sel,
            driver_features: *driver_features,
            driver_features_sel: *driver_features_sel,
            queue_sel: *queue_sel,
            status: *status,
            interrupt_status: *interrupt_status,
            violation: violation.clone(),
            queues: queues.iter().map(Queue::save).collect(),
        }
    }

    /// Puts `state` into the transport of a device that was just made.
    pub(in crate::virtio) fn restore(self, state: &TransportState, memory: &Ram) -> Result<Self, StateError> {
        let TransportState {
            device_features_sel,
            driver_features,
            driver_features_sel,
            queue_sel,
            status,
            interrupt_status,
            violation,
            queues,
        } = state;
        let mut transport = Transport {
            model: self.model,
            device_features_sel: *device_features_sel,
            driver_features: *driver_features,
            driver_features_sel: *driver_features_sel,
            queue_sel: *queue_sel,
            status: *status,
            interrupt_status: *interrupt_status,
            violation: violation.clone(),
            queues: self.queues,
        };
        transport.check_registers()?;
        transport.restore_queues(queues, memory)?;
        Ok(transport)
    }

    /// Refuses registers that no sequence of accesses leads to.
    fn check_registers(&self) -> Result<(), StateError> {
        let negotiated = self.status & VIRTIO_CONFIG_S_FEATURES_OK != 0;
        let possible = self.status & !DRIVER_STATUS == 0
            && (negotiated || self.status & VIRTIO_CONFIG_S_DRIVER_OK == 0)
            && (!negotiated || self.features_acceptable())
            && self.interrupt_status & !(VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG) == 0;
        possible.then_some(()).ok_or(StateError::Transport {
            slot: self.model.slot,
            status: self.status,
            features: self.driver_features,
            interrupt_status: self.interrupt_status,
        })
    }

    fn restore_queues(&mut self, states: &[QueueState], memory: &Ram) -> Result<(), StateError> {
        let (slot, expected) = (self.model.slot, self.queues.len());
        if states.len() != expected {
            return Err(StateError::QueueCount { slot, found: states.len(), expected });
        }
        let event_idx = self.event_idx();
        let negotiated = self.status & VIRTIO_CONFIG_S_FEATURES_OK != 0;
        for (queue, state) in self.queues.iter_mut().zip(states) {
            if state.next.is_some() && !negotiated {
                let violation = Violation::QueueBeforeFeatures { queue: queue.index() };
                return Err(StateError::Queue { slot, violation });
            }
            *queue = Queue::restore(queue.index(), state, memory, event_idx)
                .map_err(|violation| StateError::Queue { slot, violation })?;
        }
        Ok(())
    }
}
