//! KVM as plain values: what the rest of the monitor sees of the kernel interface.
//!
//! [`Host`] opens `/dev/kvm` and says what it can do, [`Vm`] is a machine with a slot for each range of RAM, [`Vcpu`]
//! runs it and turns every exit into an [`Exit`], and [`VcpuState`] is all of a vCPU's state between two stretches.

pub mod cpuid;
mod dirty_log;
mod error;
mod exit;
mod extras;
mod interrupt;
mod msr;
mod need;
mod state;
mod vcpu;
mod vm;

pub use cpuid::Template;
pub use error::KvmError;
pub(crate) use error::ioctl;
pub use exit::Exit;
pub use extras::PARAMETERS;
pub use need::Need;
pub use state::VcpuState;
pub use vcpu::Vcpu;
pub use vm::{Host, Vm};
