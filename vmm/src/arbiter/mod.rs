//! The arbiter: who may go on alone.
//!
//! For each pair of a VM's name and generation the arbiter is one atomic test-and-set. The first holder to claim a generation
//! has it; to claim again what one already holds is to win again, so a claim whose answer was lost can be
//! repeated.
//!
//! ```text
//!  primary (generation g)        arbiter            secondary (generation g)
//!        │        link lost         │                       │ link lost, log drained
//!        ├── claim g+1 ────────────►│◄───────── claim g+1 ──┤
//!        │                          │                       │
//!        │◄── Lost{holder} ─────────┤──────────────── Won ─►│
//!      halts                                          goes live at g+1
//! ```

mod directory;
mod entry;
mod error;
mod file;
mod holder;

pub use entry::{Ended, Entry, Latest, time};
pub use error::ArbiterError;
pub use file::{Claim, FileArbiter};
pub use holder::{Holder, Whereabouts};
