//! A machine's whole state as frames: what a log file begins with, and what a secondary is seeded with.
//!
//! ```text
//! Begin{manifest}  Pages …  Pages  State
//! ```
//!
//! On its way to a secondary the pages come in [rounds](crate::transfer) while the guest runs on, and the state at a stop.
//!
//! Pages that hold nothing but zeroes are left out: the receiving side starts with zeroed memory. Those that nobody has
//! touched are not even looked at.

mod read;
mod write;

pub use read::{Seed, SeedError};
pub use write::write;
