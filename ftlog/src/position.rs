//! Where in an execution something happened.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The ordinal of a sync point: a VM exit of a deterministic kind, counted from the start of the VM.
///
/// A generation change does not restart the count, so a position names one instant of a VM's life.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position(pub u64);

impl Position {
    /// The sync point after this one.
    ///
    /// Saturates: at one sync point per nanosecond the end is 584 years away, so only a hostile peer can name it,
    /// and it must not make us overflow.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_stops_at_the_end() {
        assert_eq!(Position(41).next(), Position(42));
        assert_eq!(Position(u64::MAX).next(), Position(u64::MAX));
        assert!(Position(2) < Position(10));
        assert_eq!(Position(123).to_string(), "#123");
    }
}
