//! The world outside the guest: clocks, TAP devices, consoles. Nothing here is seen by a device.

pub mod clock;
pub mod console;
pub mod tap;

mod outlets;

pub use outlets::Outlets;
