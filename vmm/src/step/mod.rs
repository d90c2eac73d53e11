//! The step loop: from sync point to sync point, live or from a log.

pub mod live;
pub mod replayed;
pub mod unprotected;

pub use live::{Ended, Input, StopSwitch, Witness};
