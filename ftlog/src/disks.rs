//! The bodies with which a secondary's copies of the disks are made equal to the primary's.
//!
//! ```text
//! DiskBases:   disk u8 │ 0 × 7 │ bytes of a map u64 │ (vm u128 │ generation u64 │ position u64 │ map) …
//! DiskRegions: disk u8 │ 0 × 7 │ bytes of a map u64 │ map
//! DiskDigests: disk u8 │ 0 × 7 │ first block u64    │ digest u128 …
//! DiskBlock:   disk u8 │ 0 × 7 │ block u64          │ 1 to 65536 bytes
//! ```
//!
//! A disk is divided into blocks of [`DISK_BLOCK`] bytes, of which the last may be shorter, and into *regions* of some
//! blocks each ([`blocks_in_region`]). A map has a bit for each region, the lowest of the first byte for the first.

use thiserror::Error;
use zerocopy::little_endian::{U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{
    frame::FrameKind,
    message::{Generation, VmId},
    position::Position,
};

/// The length of a block, in bytes.
pub const DISK_BLOCK: usize = 64 << 10;
/// The most digests in one body.
pub const DIGESTS_PER_FRAME: usize = 4096;

/// The most bases in one body.
pub const MAX_BASES: usize = 4;
/// The most regions of a disk.
pub const MAX_REGIONS: usize = 1 << 16;

/// Blocks in a region, unless there would be more than [`MAX_REGIONS`]: 4 MiB.
const MIN_REGION: u64 = 64;
const MAX_MAP: usize = MAX_REGIONS / 8;
const DIGEST_LEN: usize = size_of::<u128>();

/// How many blocks a region of a disk of `bytes` has.
#[must_use]
pub fn blocks_in_region(bytes: u64) -> u64 {
    let blocks = bytes.div_ceil(DISK_BLOCK as u64);
    blocks.div_ceil(MAX_REGIONS as u64).next_power_of_two().max(MIN_REGION)
}

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

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct BaseHead {
    vm: [u8; 16],
    generation: U64,
    position: U64,
}

/// A position at which a copy is known, but for some regions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskBase {
    /// The VM.
    pub vm: VmId,
    /// The generation.
    pub generation: Generation,
    /// The position in it.
    pub position: Position,
    /// The map of the regions that may hold something else than the VM's disk did there.
    pub map: Vec<u8>,
}

/// The bases of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskBases {
    /// Which disk, in the order of the shape.
    pub disk: u8,
    /// The length of a map, in bytes: 1 to [`MAX_REGIONS`] / 8.
    pub map_len: usize,
    /// At most [`MAX_BASES`].
    pub bases: Vec<DiskBase>,
}

impl DiskBases {
    /// The body of a `DiskBases` frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = head(self.disk, self.map_len as u64);
        for DiskBase { vm, generation, position, map } in &self.bases {
            let head = BaseHead { vm: vm.0, generation: generation.0.into(), position: position.0.into() };
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(map);
        }
        body
    }

    /// The bases in the body of a `DiskBases` frame.
    ///
    /// # Errors
    /// [`DisksError`]. Whether the maps are as long as the disk's, the caller decides.
    pub fn decode(body: &[u8]) -> Result<Self, DisksError> {
        let kind = FrameKind::DiskBases;
        let (head, rest) = split(kind, body)?;
        let wrong = DisksError::Length { kind, len: body.len() };
        let map_len = map_len(head).ok_or(wrong)?;
        let each = size_of::<BaseHead>() + map_len;
        if !rest.len().is_multiple_of(each) || rest.len() / each > MAX_BASES {
            return Err(wrong);
        }
        let base = |bytes| {
            let (head, map) = BaseHead::ref_from_prefix(bytes).map_err(|_| wrong)?;
            Ok(DiskBase {
                vm: VmId(head.vm),
                generation: Generation(head.generation.get()),
                position: Position(head.position.get()),
                map: map.to_vec(),
            })
        };
        let bases = rest.chunks_exact(each).map(base).collect::<Result<_, _>>()?;
        Ok(Self { disk: head.disk, map_len, bases })
    }
}

/// The regions of a disk whose blocks are to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskRegions {
    /// Which disk, in the order of the shape.
    pub disk: u8,
    /// Their map: 1 to [`MAX_REGIONS`] / 8 bytes.
    pub map: Vec<u8>,
}

impl DiskRegions {
    /// The body of a `DiskRegions` frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = head(self.disk, self.map.len() as u64);
        body.extend_from_slice(&self.map);
        body
    }

    /// The regions in the body of a `DiskRegions` frame.
    ///
    /// # Errors
    /// [`DisksError`]. Whether the map is as long as the disk's, the caller decides.
    pub fn decode(body: &[u8]) -> Result<Self, DisksError> {
        let kind = FrameKind::DiskRegions;
        let (head, map) = split(kind, body)?;
        if map_len(head) != Some(map.len()) {
            return Err(DisksError::Length { kind, len: body.len() });
        }
        Ok(Self { disk: head.disk, map: map.to_vec() })
    }
}

fn map_len(head: &Head) -> Option<usize> {
    usize::try_from(head.block.get()).ok().filter(|len| (1..=MAX_MAP).contains(len))
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
