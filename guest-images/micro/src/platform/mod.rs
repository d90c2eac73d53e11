//! The devices of the platform, as `guest-images/README.md` lays them out.

pub mod alarm;
pub mod boot_params;
pub mod clock;
pub mod console;
pub mod entry_clock;
pub mod heap;
pub mod interrupts;
pub mod ports;
pub mod power;
pub mod timer;
