//! Saved state of the source of random bytes.

use serde::{Deserialize, Serialize};

use super::{REQUESTS, Rng};
use crate::ram::Ram;
use crate::state::StateError;
use crate::virtio::RNG_SLOT;
use crate::virtio::mmio::TransportState;

/// Saved state of the source of random bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RngState {
    /// Registers and queue.
    pub transport: TransportState,
    /// The driver has notified, and not all of what it offered is used.
    pub wanting: bool,
}

impl Rng {
    pub(crate) fn save(&self) -> RngState {
        let Self { transport, wanting, buffers: _ } = self;
        RngState { transport: transport.save(), wanting: *wanting }
    }

    pub(crate) fn restore(state: &RngState, memory: &Ram) -> Result<Self, StateError> {
        let RngState { transport, wanting } = state;
        let fresh = Rng::new();
        let transport = fresh.transport.restore(transport, memory)?;
        if *wanting && !transport.serves(REQUESTS) {
            return Err(StateError::NotServing { slot: RNG_SLOT });
        }
        Ok(Rng { transport, wanting: *wanting, buffers: fresh.buffers })
    }
}
