//! How a side is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a side is, beyond being heard.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Condition {
    /// For how long the thread that executes the guest has had something to do and has done nothing, in ns.
    pub stalled_ns: u64,
    /// What the guest could not reach from there.
    pub health: Health,
}

/// What ails a side's ways out, as a set. Bits that this program does not know count as an ailment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Health(pub u64);

impl Health {
    /// The network device is not there, or down.
    pub const NETWORK: Self = Self(1);
    /// A disk gives errors.
    pub const DISK_FAILS: Self = Self(2);
    /// A disk has not answered for long.
    pub const DISK_STALLS: Self = Self(4);

    /// Nothing ails it.
    #[must_use]
    pub fn is_well(self) -> bool {
        self == Self::default()
    }

    /// Whether all that `other` names ails it.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both's.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::NETWORK, "its network device is gone or down"),
            (Self::DISK_FAILS, "a disk fails"),
            (Self::DISK_STALLS, "a disk does not answer"),
        ];
        let mut said = false;
        for (_, name) in names.iter().filter(|(ailment, _)| self.has(*ailment)) {
            write!(f, "{}{name}", if said { ", " } else { "" })?;
            said = true;
        }
        if said {
            Ok(())
        } else {
            f.write_str(if self.is_well() { "well" } else { "something unknown ails it" })
        }
    }
}
