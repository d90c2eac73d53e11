//! Why the ledger refuses a request.

use core::fmt;

use super::record::{MOST_KEY_BYTES, MOST_VALUE_BYTES};

/// A reason; shown, it is the text of the error reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// What the disk holds in a record is not what was written there, or cannot have been.
    Damaged(u32),
    /// The disk could not read a record.
    Unreadable(u32),
    /// The disk could not write a record.
    Unwritten(u32),
    /// The disk could not make a record last.
    Unflushed(u32),
    /// Every record is in use.
    Full,
    /// A longer key than a record can hold.
    LongKey,
    /// A longer value than a record can hold.
    LongValue,
    /// A value that is no number, or not one that can be counted on.
    NoNumber,
    /// The guest is about to switch itself off.
    Ending,
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Damaged(record) => write!(formatter, "ERR damaged record {record}"),
            Self::Unreadable(record) => write!(formatter, "ERR io record {record} could not be read"),
            Self::Unwritten(record) => write!(formatter, "ERR io record {record} could not be written"),
            Self::Unflushed(record) => write!(formatter, "ERR io record {record} could not be flushed"),
            Self::Full => write!(formatter, "ERR full: every record of the disk is in use"),
            Self::LongKey => write!(formatter, "ERR a key has at most {MOST_KEY_BYTES} bytes"),
            Self::LongValue => write!(formatter, "ERR a value has at most {MOST_VALUE_BYTES} bytes"),
            Self::NoNumber => write!(formatter, "{}", crate::command::NOT_AN_INTEGER),
            Self::Ending => write!(formatter, "ERR shutting down"),
        }
    }
}
