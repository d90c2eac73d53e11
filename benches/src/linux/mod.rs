//! A Linux guest to measure: where it runs, how it is run, and its shell.

pub mod guest;
mod mode;
pub mod place;

pub use guest::{Compiled, Guest, MEMORY_MIB};
pub use mode::Mode;
pub use place::{LabHosts, Place, Side, Started, ThisHost};
