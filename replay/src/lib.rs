//! Recording an execution and replaying it.
//!
//! The [`Recorder`] puts the steps of an execution into batches, one to a frame of the log; on the other side
//! [`ftlog::decode_steps`] takes them apart again, and [`verify`] compares what the replay did at each sync point with
//! what was recorded there.
//!
//! ```text
//!  primary: exit ─► RunningDigest ─► events ─► Recorder ─► batch ─► ftlog frame ──┐
//!  replay:  exit ─► RunningDigest ─► verify ◄─ decode_steps ◄─ ftlog frame ◄──────┘
//!                                      │ equal: apply the step's events, go on
//!                                      └ not: Divergence, which ends the replay
//! ```

mod digest;
mod divergence;
mod recorder;
mod registers;

pub use digest::RunningDigest;
pub use divergence::{Difference, Divergence, verify};
pub use recorder::{Batch, Recorder};
pub use registers::{RegisterFile, describe, describe_both};
