//! How a machine ends, or begins again, by its guest's doing.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a machine ended by its guest's will, or for want of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Off {
    /// The guest switched itself off, with this exit status; 0 is success.
    Status(u32),
    /// The guest panicked.
    Panicked,
}

/// Why a machine is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResetCause {
    /// The guest asked for it.
    Guest,
    /// The guest panicked.
    Panic,
}

impl fmt::Display for ResetCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Guest => "the guest has reset the machine, which starts again",
            Self::Panic => "the guest has panicked; the machine is reset and starts again",
        })
    }
}
