//! Saved state of the network device.

use serde::{Deserialize, Serialize};
use vm_memory::GuestMemoryMmap;

use super::Net;
use crate::state::StateError;
use crate::virtio::mmio::TransportState;

/// Saved state of the network device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetState {
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Registers and queues.
    pub transport: TransportState,
    /// Frames for the guest that were dropped.
    pub received_dropped: u64,
    /// Frames from the guest that were dropped.
    pub sent_dropped: u64,
}

impl Net {
    pub(crate) fn save(&self) -> NetState {
        let Self { mac, transport, received_dropped, sent_dropped, buffers: _ } = self;
        NetState {
            mac: *mac,
            transport: transport.save(),
            received_dropped: *received_dropped,
            sent_dropped: *sent_dropped,
        }
    }

    pub(crate) fn restore(state: &NetState, memory: &GuestMemoryMmap<()>) -> Result<Self, StateError> {
        let NetState { mac, transport, received_dropped, sent_dropped } = state;
        let fresh = Net::new(*mac);
        Ok(Net {
            mac: *mac,
            transport: fresh.transport.restore(transport, memory)?,
            received_dropped: *received_dropped,
            sent_dropped: *sent_dropped,
            buffers: fresh.buffers,
        })
    }
}
