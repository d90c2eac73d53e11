//! The saved state of the platform.
//!
//! It comes from a peer or a file, so [`Platform::restore`](crate::Platform::restore) checks all of it. Every
//! `save` takes its device apart field by field: a field that is not saved is a compile error.

mod error;

use serde::{Deserialize, Serialize};

use crate::clock::ClockState;
use crate::interrupts::InterruptState;
use crate::power::PowerState;
use crate::serial::SerialState;
use crate::timer::TimerState;
use crate::virtio::SlotsState;
pub use error::{STATE_VERSION, StateError};

/// Everything the devices hold that is not in guest memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformState {
    /// [`STATE_VERSION`] of the side that saved it.
    pub version: u16,
    /// The interrupt controller.
    pub interrupts: InterruptState,
    /// The console.
    pub serial: SerialState,
    /// The one-shot timer.
    pub timer: TimerState,
    /// The virtual clock.
    pub clock: ClockState,
    /// The power control.
    pub power: PowerState,
    /// The virtio devices.
    pub virtio: SlotsState,
    /// Accesses to ports and addresses without a device.
    pub unassigned_accesses: u64,
}
