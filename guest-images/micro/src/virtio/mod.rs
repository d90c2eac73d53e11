//! The drivers of the virtio devices: virtio 1.2 over MMIO with split queues.
//!
//! The driver trusts the monitor to be a virtio device; what it reads from shared memory is still bounds-checked, so that
//! a mistake there becomes a panic with a message.

pub mod blk;
mod mmio;
pub mod net;
mod queue;
mod rings;
