//! The monitor: what carries bytes between the protocol, the machine and the world.
//!
//! The path of an event in reading order: [`ingress`] → [`replay::live`] (the step loop) → [`machine`] (the sync point)
//! → [`replay::Recorder`] → [`ftlog`] → the peer's [`replay::replayed`] → its [`machine`]. The path of an output:
//! a device → [`replay::live`] → [`protocol::commit`] (the gate) → [`host::Outlets`].

pub mod alone;
pub mod arbiter;
pub mod cli;
pub mod control;
pub mod demo;
pub mod disk;
pub mod doctor;
pub mod host;
pub mod identity;
pub mod ingress;
pub mod link;
pub mod logging;
pub mod shutdown;
