//! The world outside the guest: clocks, TAP devices, consoles, files that a user names. Nothing here is seen by a device.

pub mod announce;
pub mod bell;
pub mod checkup;
pub mod clock;
pub mod console;
pub mod door;
pub mod mac;
pub mod pulse;
pub mod reserve;
pub mod socket;
pub mod tap;
pub mod unix;

mod outlets;

pub use outlets::Outlets;
