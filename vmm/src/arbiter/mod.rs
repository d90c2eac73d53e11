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

use std::fmt;

mod directory;
mod entry;
mod file;
mod holder;

pub use entry::{Ended, Entry, Latest, time};
pub use file::{ArbiterError, Claim, FileArbiter};
pub use holder::{Holder, Whereabouts};

/// What the arbiter answered to a claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClaimOutcome {
    /// The generation is the caller's, now or since an earlier claim.
    Won,
    /// Somebody else has it.
    Lost {
        /// Who, as it named itself.
        holder: String,
    },
    /// It cannot be told: the claim may or may not have been entered, so the caller must neither go on nor give up,
    /// but ask again.
    Unavailable {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for ClaimOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Won => write!(f, "won"),
            Self::Lost { holder } => write!(f, "lost to {holder}"),
            Self::Unavailable { reason } => write!(f, "unavailable: {reason}"),
        }
    }
}
