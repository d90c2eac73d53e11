//! The devices of an ftvmm virtual machine, as deterministic state machines.
//!
//! A device sees guest memory, the current virtual time and what is handed to it, all through [`Context`]. It
//! has no host clock, randomness, file, socket or thread, so two [`Platform`]s fed the same accesses and the
//! same input give the same answers, output, guest memory and saved state. That is what lets a secondary
//! stand in for a primary.
//!
//! The guest's view (ports, addresses, interrupt lines) is described in `guest-images/README.md`.

mod clock;
mod context;
mod ends;
pub mod fuzz;
mod interrupts;
mod platform;
mod power;
mod ram;
mod serial;
mod state;
mod timer;
mod virtio;

pub use clock::ClockState;
pub use context::{Context, Output};
pub use ends::{Off, ResetCause};
pub use interrupts::{InterruptState, VECTOR_BASE};
pub use platform::{Counters, Platform, PlatformConfig};
pub use power::{OnPanic, PowerState};
pub use ram::Ram;
pub use serial::SerialState;
pub use state::{PlatformState, STATE_VERSION, StateError};
pub use timer::TimerState;
pub use virtio::{
    DiskConfig, DiskOperation, DiskRequest, DiskState, DiskStatus, FIRST_DISK_SLOT, MAX_DISKS,
    MAX_IN_FLIGHT_BYTES, MAX_MTU, MAX_REQUEST_BYTES, MIN_MTU, NET_SLOT, NetConfig, NetDrops, NetState,
    PendingOperation, PendingRequest, QueueRegisters, QueueState, RNG_SLOT, RngState, Segment, SlotsState,
    TransportState, Violation,
};
