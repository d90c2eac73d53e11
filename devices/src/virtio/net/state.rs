//! Saved state of the network device.

use serde::{Deserialize, Serialize};

use super::{Net, NetConfig, NetDrops};
use crate::ram::Ram;
use crate::state::StateError;
use crate::virtio::mmio::TransportState;

/// Saved state of the network device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetState {
    /// What it is.
    pub config: NetConfig,
    /// Registers and queues.
    pub transport: TransportState,
    /// What it dropped.
    pub drops: NetDrops,
}

impl Net {
    pub(crate) fn save(&self) -> NetState {
        let Self { config, transport, drops, buffers: _, packet: _ } = self;
        NetState { config: *config, transport: transport.save(), drops: *drops }
    }

    pub(crate) fn restore(state: &NetState, memory: &Ram) -> Result<Self, StateError> {
        let NetState { config, transport, drops } = state;
        if !config.is_bounded() {
            return Err(StateError::Mtu { mtu: config.mtu });
        }
        let mut net = Net::new(*config);
        net.transport = net.transport.restore(transport, memory)?;
        net.drops = *drops;
        Ok(net)
    }
}
