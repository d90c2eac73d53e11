//! virtio devices over MMIO, as virtio 1.2 describes them.
//!
//! A driver that breaks the protocol finds `DEVICE_NEEDS_RESET` in the status, and a device that does nothing
//! until it is reset.

mod mmio;
mod net;
mod queue;
mod violation;

pub use mmio::TransportState;
pub(crate) use mmio::register_of;
pub use net::NetState;
pub(crate) use net::{NET_SLOT, Net};
pub use queue::{QueueRegisters, QueueState};
pub use violation::Violation;
