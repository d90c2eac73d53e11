//! The monitor: KVM, the step loop, the roles, and everything around them.
//!
//! The path of an event in reading order: [`ingress`] → [`step::live`] (the step loop) → [`machine`] (the sync point)
//! → [`replay::Recorder`] → [`ftlog`] → the peer's [`step::replayed`] → its [`machine`]. The path of an output:
//! a device → [`step::live`] → [`commit`] (the gate) → [`host::Outlets`].

pub mod arbiter;
pub mod boot;
pub mod cli;
pub mod commit;
pub mod control;
pub mod demo;
pub mod disk;
pub mod doctor;
pub mod host;
pub mod identity;
pub mod ingress;
pub mod kvm;
pub mod link;
pub mod logfile;
pub mod logging;
pub mod machine;
pub mod memory;
pub mod role;
pub mod sabotage;
pub mod shutdown;
pub mod snapshot;
pub mod step;
