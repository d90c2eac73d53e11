//! The step loop: from sync point to sync point, live or from a log.

pub mod live;
pub mod observed;
pub mod replayed;
pub mod unprotected;

mod watchdog;

pub use live::{Ended, Input, StopSwitch, Witness};
