//! Saved state of a disk.

use serde::{Deserialize, Serialize};

use super::{Disk, DiskConfig, PendingRequest, QUEUE};
use crate::ram::Ram;
use crate::state::StateError;
use crate::virtio::mmio::TransportState;

/// More requests than a guest can make in the life of a VM.
const MAX_ID: u64 = 1 << 62;

/// Saved state of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskState {
    /// Its shape.
    pub config: DiskConfig,
    /// Registers and queue.
    pub transport: TransportState,
    /// Requests without an answer, oldest first.
    pub in_flight: Vec<PendingRequest>,
    /// The number of the next request.
    pub next_id: u64,
}

impl Disk {
    pub(crate) fn save(&self) -> DiskState {
        let Self { slot: _, config, transport, in_flight, next_id, buffers: _ } = self;
        DiskState {
            config: config.clone(),
            transport: transport.save(),
            in_flight: in_flight.clone(),
            next_id: *next_id,
        }
    }

    pub(crate) fn restore(slot: u8, state: &DiskState, memory: &Ram) -> Result<Self, StateError> {
        let DiskState { config, transport, in_flight, next_id } = state;
        if !config.is_bounded() {
            return Err(StateError::Disk { slot, sectors: config.sectors, id_len: config.id.len() });
        }
        let fresh = Disk::new(slot, config.clone());
        let disk = Disk {
            slot,
            config: config.clone(),
            transport: fresh.transport.restore(transport, memory)?,
            in_flight: in_flight.clone(),
            next_id: *next_id,
            buffers: fresh.buffers,
        };
        disk.check_requests(memory)?;
        Ok(disk)
    }

    /// Refuses requests that the device cannot have taken from this queue.
    fn check_requests(&self, memory: &Ram) -> Result<(), StateError> {
        let Disk { slot, config, in_flight, next_id, .. } = self;
        let (slot, next_id) = (*slot, *next_id);
        if !in_flight.is_empty() && !self.transport.serves(QUEUE) {
            return Err(StateError::NotServing { slot });
        }
        let size = self.transport.queues[QUEUE].size();
        let ascending = in_flight.is_sorted_by(|earlier, later| earlier.id < later.id)
            && in_flight.last().is_none_or(|last| last.id < next_id);
        if in_flight.len() > usize::from(size) || !ascending || next_id > MAX_ID {
            return Err(StateError::Requests { slot, count: in_flight.len(), next_id });
        }
        for (at, request) in in_flight.iter().enumerate() {
            let head_is_free = in_flight[..at].iter().all(|earlier| earlier.head != request.head);
            if request.head >= size || !head_is_free || !request.is_valid(config, memory) {
                return Err(StateError::Request { slot, id: request.id });
            }
        }
        Ok(())
    }
}
