//! What of the operator's is being carried out.

use alloc::string::String;

use super::{Asked, Attempt};

/// The command that is being carried out, and where to look for the next secondary.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub(super) struct Operator {
    pub(super) doing: Option<Doing>,
    /// Where `Resume` looks.
    pub(super) suspended: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Doing {
    /// The secondary is let go, and then one is looked for at `then`.
    Detaching { asked: Asked, then: Option<String> },
    /// `to` is asked whether it would be the secondary; until it says so, the one that there is stays.
    Migrating { asked: Asked, to: String, attempt: Attempt },
}

impl Operator {
    /// Nothing else may be decided now.
    pub(super) fn is_busy(&self) -> bool {
        self.doing.is_some()
    }
}
