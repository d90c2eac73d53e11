//! What an arbiter says: who may go on alone.

use alloc::string::String;
use core::fmt;

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
