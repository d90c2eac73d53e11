//! What an arbiter is, and what it says: who may go on alone.

use alloc::string::String;
use core::fmt;

use ftlog::Generation;

/// One atomic test-and-set for each generation of a VM.
///
/// A generation comes after the one before it, and for one who knows its holder. To claim again what one holds is to win
/// again, so that a claim whose answer was lost can be repeated. Whoever claims a generation before the newest has lost to
/// the newest's holder, also with a generation that was his: the VM is elsewhere by now.
pub trait Arbiter {
    /// `holder` wants `generation`, which comes after the one that `after` has; none for the first.
    fn claim(&mut self, generation: Generation, holder: &str, after: Option<&str>) -> ClaimOutcome;

    /// The newest generation, and who has it.
    fn latest(&mut self) -> Option<(Generation, String)>;
}

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
