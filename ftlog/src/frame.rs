//! Frames: the envelope of everything in a log file or on a connection.
//!
//! ```text
//! offset  0        4          6       8           16          20          24           32             40
//!         ┌────────┬──────────┬───────┬───────────┬───────────┬───────────┬────────────┬──────────────┬─ ─ ─
//!         │ "FTLG" │ version  │ kind  │ sequence  │ body_len  │ reserved  │ body       │ header       │ body
//!         │        │ u16      │ u16   │ u64       │ u32       │ u32 = 0   │ xxh3 u64   │ xxh3 u64     │
//!         └────────┴──────────┴───────┴───────────┴───────────┴───────────┴────────────┴──────────────┴─ ─ ─
//!                                                              header xxh3 covers bytes 0..32 ┘
//! ```
//!
//! The header's own checksum is verified before its length is trusted. A header of another version is reported as
//! such, whatever the rest of it looks like: only magic and version keep their place for ever.

mod decoder;
mod error;
mod format;

pub use decoder::FrameDecoder;
pub use error::{FrameError, FrameProblem};
pub use format::{FORMAT_VERSION, MAGIC, MAX_BODY};

use xxhash_rust::xxh3::xxh3_64;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The length of a frame's header, in bytes.
pub const HEADER_LEN: usize = size_of::<Header>();

/// Bytes of a header that its checksum covers: all before the checksum itself.
const CHECKED_LEN: usize = HEADER_LEN - size_of::<u64>();

/// What a frame's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum FrameKind {
    /// What the execution starts from: [`crate::Manifest`].
    Begin = 1,
    /// Guest memory: [`crate::Pages`]; behind the state, that of a [`crate::Delta`].
    Pages = 2,
    /// vCPU, devices and pending input; opaque to this crate.
    State = 3,
    /// Sync points: [`crate::StepsFrame`].
    Steps = 4,
    /// The orderly end: [`crate::End`]. A file without it was cut off. On a connection, without a body: the guest has
    /// switched itself off, and all it said has left.
    End = 5,
    /// First frame of a connection: [`crate::Hello`].
    Hello = 6,
    /// The connection is accepted: [`crate::Welcome`].
    Welcome = 7,
    /// The connection is refused: [`crate::Refuse`].
    Refuse = 8,
    /// Primary: the seed is whole. No body.
    SeedDone = 9,
    /// The secondary holds the whole seed; body: its position, 8 bytes.
    SeedHeld = 10,
    /// Secondary: how far it is: [`crate::Ack`].
    Ack = 11,
    /// A sign of life: [`crate::Heartbeat`].
    Heartbeat = 12,
    /// Primary: it goes on without this secondary, on purpose. No body.
    Detach = 13,
    /// Secondary: its execution is another: [`crate::Diverged`].
    Diverged = 14,
    /// Primary: its registers where the secondary diverged: [`crate::Registers`].
    Registers = 15,
    /// Asks for a report. No body.
    Query = 16,
    /// The answer to a query: [`crate::Report`].
    Report = 17,
    /// Asks the peer to fail on purpose, for a failover test. No body.
    Fail = 18,
    /// Secondary: what its copies of the disks hold: [`crate::DiskDigests`].
    DiskDigests = 19,
    /// Primary: what they should hold: [`crate::DiskBlock`].
    DiskBlock = 20,
    /// Guest memory as it was at power-on, for a reset: [`crate::Pages`].
    BootPages = 21,
    /// Secondary: where its copies of the disks are known: [`crate::DiskBases`].
    DiskBases = 22,
    /// Primary: which blocks of them to tell of: [`crate::DiskRegions`].
    DiskRegions = 23,
    /// Primary: a round of memory is sent; body: its number, 8 bytes. Secondary, with the same body: it is received.
    SeedRound = 24,
    /// Secondary, once a seed has begun or it was asked: what its memory holds already: [`crate::PageDigests`].
    PageDigests = 25,
    /// The vCPU of a [`crate::Delta`], whose pages came before it in `Pages` frames.
    Delta = 26,
    /// Primary, in the log: what does the secondary's memory hold here? Body: the key of the [`crate::PageDigests`] that
    /// answer it, 8 bytes.
    AskPages = 27,
}

impl FrameKind {
    /// All kinds, in the order of their numbers, which start at 1.
    pub const ALL: [Self; 27] = [
        Self::Begin,
        Self::Pages,
        Self::State,
        Self::Steps,
        Self::End,
        Self::Hello,
        Self::Welcome,
        Self::Refuse,
        Self::SeedDone,
        Self::SeedHeld,
        Self::Ack,
        Self::Heartbeat,
        Self::Detach,
        Self::Diverged,
        Self::Registers,
        Self::Query,
        Self::Report,
        Self::Fail,
        Self::DiskDigests,
        Self::DiskBlock,
        Self::BootPages,
        Self::DiskBases,
        Self::DiskRegions,
        Self::SeedRound,
        Self::PageDigests,
        Self::Delta,
        Self::AskPages,
    ];

    fn from_wire(value: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == value)
    }
}

/// A frame as it was received, both checksums and its sequence verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the body is.
    pub kind: FrameKind,
    /// How many frames came before it in this file or direction.
    pub sequence: u64,
    /// How many bytes came before it.
    pub offset: u64,
    /// The body, at most [`MAX_BODY`] bytes.
    pub body: Vec<u8>,
}

/// The header, as it is stored.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 4],
    version: U16,
    kind: U16,
    sequence: U64,
    body_len: U32,
    reserved: U32,
    body_xxh3: U64,
    header_xxh3: U64,
}

impl Header {
    fn new(sequence: u64, kind: FrameKind, body: &[u8]) -> Self {
        let mut header = Self {
            magic: MAGIC,
            version: FORMAT_VERSION.into(),
            kind: (kind as u16).into(),
            sequence: sequence.into(),
            body_len: (body.len() as u32).into(),
            reserved: 0.into(),
            body_xxh3: xxh3_64(body).into(),
            header_xxh3: 0.into(),
        };
        header.header_xxh3 = header.checksum().into();
        header
    }

    fn checksum(&self) -> u64 {
        xxh3_64(&self.as_bytes()[..CHECKED_LEN])
    }
}

/// Appends one frame to `out`. For senders that count and buffer on their own; others use [`crate::FrameWriter`].
///
/// # Errors
/// [`FrameProblem::TooLong`] for a body over [`MAX_BODY`]; `out` is then unchanged. The offset in the error is that
/// in `out`.
pub fn encode_frame(
    sequence: u64,
    kind: FrameKind,
    body: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    if body.len() > MAX_BODY {
        let problem = FrameProblem::TooLong { len: body.len() as u64 };
        return Err(FrameError { sequence, offset: out.len() as u64, problem });
    }
    out.reserve(HEADER_LEN + body.len());
    out.extend_from_slice(Header::new(sequence, kind, body).as_bytes());
    out.extend_from_slice(body);
    Ok(())
}
