//! One virtual machine on KVM, and its state as frames.
//!
//! From the outside in: [`Machine`] has the procedure at each sync point, [`kvm`] the vCPU, what it exits for and what
//! it is shown of a CPU, [`memory`] its RAM, [`boot`] gets a kernel to its first instruction, [`snapshot`] writes and
//! reads the whole state.

pub mod boot;
mod boot_pages;
pub mod bounded;
pub mod kvm;
pub mod memory;
pub mod snapshot;

mod machine;
mod thread;
mod tracker;
pub mod transfer;

pub use boot_pages::{ArrivingPages, BootPages};
pub use machine::{
    Counts, CreateError, EntryClock, EventCount, EventCounts, ExitCounts, InstallError, Machine,
    MachineError, MachineState, PowerOn, Reached, STATE_VERSION, StateError, Tally,
};
pub use thread::{KickTimer, VcpuThread};
