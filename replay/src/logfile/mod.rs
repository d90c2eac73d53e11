//! An execution on disk: `ftvmm record` writes it, `ftvmm replay` runs it again.
//!
//! ```text
//! Begin  Pages …  State  Steps …  Pages … Delta Steps …  End{digests of all state}
//! ```
//!
//! A file without its `End` is the log of a recording that was cut off; it is replayed for what it is worth and then
//! refused.

mod player;
mod recording;

pub use player::{Player, Summary};
pub use recording::Recording;
