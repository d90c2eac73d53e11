//! What can be wrong with a stream of frames.

use std::io;

use thiserror::Error;

use super::format::{FORMAT_VERSION, MAGIC, MAX_BODY};

/// A stream that cannot be read or written any further: where, and why.
#[derive(Debug, Error)]
#[error("frame {sequence} at byte {offset}: {problem}")]
pub struct FrameError {
    /// The sequence number that is due here.
    pub sequence: u64,
    /// Where the frame starts in the stream, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub problem: FrameProblem,
}

/// What is wrong with a frame, in the order of the checks.
#[derive(Debug, Error)]
pub enum FrameProblem {
    /// Not a frame of ours.
    #[error("magic {found:02x?}, {MAGIC:02x?} expected")]
    BadMagic {
        /// The bytes in its place.
        found: [u8; 4],
    },
    /// A frame of another version of the format.
    #[error("format version {found}, this program reads version {supported}")]
    Version {
        /// Its version.
        found: u16,
        /// [`FORMAT_VERSION`].
        supported: u16,
    },
    /// The header was damaged.
    #[error("header checksum {found:#018x}, {expected:#018x} expected")]
    HeaderChecksum {
        /// What the header's bytes give.
        expected: u64,
        /// What the header says.
        found: u64,
    },
    /// The reserved field is in use.
    #[error("reserved field {found:#x}, 0 expected")]
    Reserved {
        /// Its value.
        found: u32,
    },
    /// A kind that this version does not have.
    #[error("unknown kind {found}")]
    UnknownKind {
        /// The kind.
        found: u16,
    },
    /// A body over [`MAX_BODY`].
    #[error("body of {len} bytes, at most {MAX_BODY} expected")]
    TooLong {
        /// Its length.
        len: u64,
    },
    /// A frame is missing, repeated or out of order.
    #[error("sequence {found}, {expected} expected")]
    Sequence {
        /// The number that is due.
        expected: u64,
        /// The number it has.
        found: u64,
    },
    /// The body was damaged.
    #[error("body checksum {found:#018x}, {expected:#018x} expected")]
    BodyChecksum {
        /// What the header says.
        expected: u64,
        /// What the body's bytes give.
        found: u64,
    },
    /// The stream ends inside a frame.
    #[error("the stream ends after {have} of {needed} bytes of the frame")]
    Truncated {
        /// Bytes of the frame that are there.
        have: usize,
        /// Bytes that should be: of the header, or of the whole frame once the header is there.
        needed: usize,
    },
    /// The operating system.
    #[error("{0}")]
    Io(io::Error),
}

impl FrameProblem {
    pub(super) fn version(found: u16) -> Self {
        Self::Version { found, supported: FORMAT_VERSION }
    }
}
