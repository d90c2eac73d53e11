//! Recording an execution and replaying it.
//!
//! A [`live`] machine decides what happens: its input is sampled at each sync point, and the [`Recorder`] puts the steps
//! into batches, one to a frame of the log. A [`replayed`] one is told: [`ftlog::decode_steps`] takes the batches apart
//! again, and [`verify`] compares what the replay did at each sync point with what was recorded there. [`logfile`] has
//! both ends of an execution on disk. [`trace`] says when a position was where.
//!
//! ```text
//!  live:      exit ─► RunningDigest ─► Input ─► events ─► Recorder ─► batch ─► ftlog frame ──┐
//!  replayed:  exit ─► RunningDigest ─► verify ◄─ decode_steps ◄────────────── ftlog frame ◄──┘
//!                                        │ equal: apply the step's events, go on
//!                                        └ not: Divergence, which ends the replay
//! ```

mod deltas;
mod divergence;
pub mod live;
pub mod logfile;
mod patience;
mod recorder;
pub mod replayed;
pub mod trace;
mod watchdog;

pub use deltas::Deltas;
pub use divergence::{Difference, Divergence, verify};
pub use live::{Ended, Input, Room, StopSwitch, Witness};
pub use recorder::{Batch, Recorder};
