//! virtio devices over MMIO, as virtio 1.2 describes them.
//!
//! A driver that breaks the protocol finds `DEVICE_NEEDS_RESET` in the status, and a device that does nothing
//! until it is reset.

mod blk;
mod mmio;
mod net;
mod queue;
mod rng;
mod slot_numbers;
mod slots;
mod violation;

pub use blk::{
    DiskConfig, DiskOperation, DiskRequest, DiskState, DiskStatus, MAX_IN_FLIGHT_BYTES, MAX_REQUEST_BYTES,
    PendingOperation, PendingRequest, Segment,
};
pub use mmio::TransportState;
pub(crate) use net::Net;
pub use net::{MAX_MTU, MIN_MTU, NetConfig, NetDrops, NetState};
pub use queue::{QueueRegisters, QueueState};
pub use rng::RngState;
pub use slot_numbers::{FIRST_DISK_SLOT, MAX_DISKS, NET_SLOT, RNG_SLOT};
pub(crate) use slots::Slots;
pub use slots::SlotsState;
pub use violation::Violation;
