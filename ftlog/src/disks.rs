//! The bodies with which a secondary's copies of the disks are made equal to the primary's.
//!
//! ```text
//! DiskDigests: disk u8 │ 0 × 7 │ first block u64 │ digest u128 …
//! DiskBlock:   disk u8 │ 0 × 7 │ block u64       │ 1 to 65536 bytes
//! ```
//!
//! A disk is divided into blocks of [`DISK_BLOCK`] bytes, of which the last may be shorter.

use thiserror::Error;
use zerocopy::little_endian::{U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::frame::FrameKind;

/// The length of a block, in bytes.
pub const DISK_BLOCK: usize = 64 << 10;
/// The most digests in one body.
pub const DIGESTS_PER_FRAME: usize = 4096;

const DIGEST_LEN: usize = size_of::<u128>();

/// Why a body is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DisksError {
    /// It is too short, too long, or ends within a digest.
    #[error("{kind:?}: a body of {len} bytes")]
    Length {
        /// The kind of frame.
        kind: FrameKind,
        /// The body's length.
        len: usize,
    },
    /// Bytes that are zero in every version of the format.
    #[error("{kind:?}: reserved bytes are not zero")]
    Reserved {
        /// The kind of frame.
        kind: FrameKind,
    },
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Head {
    disk: u8,
    reserved: [u8; 7],
    block: U64,
}

/// Digests (xxh3, 128 bits) of consecutive blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskDigests {
    /// Which disk, in the order of the shape.
    pub disk: u8,
    /// The first block.
    pub first: u64,
    /// Its digest and those of the blocks after it: 1 to [`DIGESTS_PER_FRAME`].
    pub digests: Vec<u128>,
}

impl DiskDigests {
    /// The body of a `DiskDigests` frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = head(self.disk, self.first);
        self.digests.iter().for_each(|digest| body.extend_from_slice(U128::new(*digest).as_bytes()));
        body
    }

    /// The digests in the body of a `DiskDigests` frame.
    ///
    /// # Errors
    /// [`DisksError`]. Whether there are such blocks, the caller decides.
    pub fn decode(body: &[u8]) -> Result<Self, DisksError> {
        let kind = FrameKind::DiskDigests;
        let (head, rest) = split(kind, body)?;
        let count = rest.len() / DIGEST_LEN;
        if !rest.len().is_multiple_of(DIGEST_LEN) || !(1..=DIGESTS_PER_FRAME).contains(&count) {
            return Err(DisksError::Length { kind, len: body.len() });
        }
        let (digests, _) = rest.as_chunks::<DIGEST_LEN>();
        let digests = digests.iter().map(|digest| u128::from_le_bytes(*digest)).collect();
        Ok(Self { disk: head.disk, first: head.block.get(), digests })
    }
}

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskBlock<'a> {
    /// Which disk, in the order of the shape.
    pub disk: u8,
    /// Which block.
    pub block: u64,
    /// Its bytes: 1 to [`DISK_BLOCK`].
    pub data: &'a [u8],
}

impl<'a> DiskBlock<'a> {
    /// The body of a `DiskBlock` frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = head(self.disk, self.block);
        body.extend_from_slice(self.data);
        body
    }

    /// The block in the body of a `DiskBlock` frame.
    ///
    /// # Errors
    /// [`DisksError`]. Whether there is such a block, of that length, the caller decides.
    pub fn decode(body: &'a [u8]) -> Result<Self, DisksError> {
        let kind = FrameKind::DiskBlock;
        let (head, data) = split(kind, body)?;
        if !(1..=DISK_BLOCK).contains(&data.len()) {
            return Err(DisksError::Length { kind, len: body.len() });
        }
        Ok(Self { disk: head.disk, block: head.block.get(), data })
    }
}

fn head(disk: u8, block: u64) -> Vec<u8> {
    Head { disk, reserved: [0; 7], block: block.into() }.as_bytes().to_vec()
}

fn split(kind: FrameKind, body: &[u8]) -> Result<(&Head, &[u8]), DisksError> {
    let (head, rest) =
        Head::ref_from_prefix(body).map_err(|_| DisksError::Length { kind, len: body.len() })?;
    if head.reserved == [0; 7] { Ok((head, rest)) } else { Err(DisksError::Reserved { kind }) }
}
