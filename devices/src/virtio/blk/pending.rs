//! Requests that wait for their backing file.

use serde::{Deserialize, Serialize};
use virtio_bindings::bindings::virtio_blk::{
    VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
    VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
};

use super::chain::Chain;
use super::config::{DiskConfig, MAX_DISCARD_SECTORS, MAX_SEGMENTS, MAX_WRITE_ZEROES_SECTORS, SECTOR_SIZE};
use super::request::{DiskOperation, DiskStatus, MAX_REQUEST_BYTES};
use super::segment::{self, Segment};
use crate::ram::Ram;

/// A request that was taken from the queue and not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRequest {
    /// The number its answer will bear.
    pub id: u64,
    /// Head of its chain.
    pub head: u16,
    /// What to do.
    pub operation: PendingOperation,
    /// Where data is read to or written from.
    pub segments: Vec<Segment>,
    /// Guest-physical address of the status byte.
    pub status: u64,
}

/// A [`DiskOperation`] whose data are in the guest's buffers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PendingOperation {
    /// Read.
    Read {
        /// From where, in bytes.
        offset: u64,
    },
    /// Write.
    Write {
        /// Where, in bytes.
        offset: u64,
    },
    /// Flush.
    Flush,
    /// Discard.
    Discard {
        /// Where it begins, in bytes.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// Write zeroes.
    WriteZeroes {
        /// Where it begins, in bytes.
        offset: u64,
        /// How many bytes.
        len: u64,
        /// The backing file may give the space back.
        may_unmap: bool,
    },
}

impl PendingRequest {
    /// The device could have taken this request.
    pub(super) fn is_valid(&self, config: &DiskConfig, memory: &Ram) -> bool {
        let Self { id: _, head: _, operation, segments, status } = self;
        operation.is_possible(segments, config)
            && segments.iter().all(|segment| segment.is_valid(memory))
            && Segment { address: *status, len: 1 }.is_valid(memory)
    }

    /// What to ask of the backing file; `None` when the data to be written are not all in RAM.
    pub(super) fn operation(&self, memory: &Ram) -> Option<DiskOperation> {
        Some(match self.operation {
            PendingOperation::Read { offset } => {
                DiskOperation::Read { offset, len: segment::total_len(&self.segments) as u32 }
            }
            PendingOperation::Write { offset } => {
                DiskOperation::Write { offset, data: segment::read(&self.segments, memory)? }
            }
            PendingOperation::Flush => DiskOperation::Flush,
            PendingOperation::Discard { offset, len } => DiskOperation::Discard { offset, len },
            PendingOperation::WriteZeroes { offset, len, may_unmap } => {
                DiskOperation::WriteZeroes { offset, len, may_unmap }
            }
        })
    }
}

impl PendingOperation {
    /// What `chain` asks for and where its data are, or the status with which it is refused.
    pub(super) fn decode(
        chain: &Chain,
        config: &DiskConfig,
        memory: &Ram,
    ) -> Result<(Self, Vec<Segment>), DiskStatus> {
        let (operation, data, unused) = match chain.kind {
            VIRTIO_BLK_T_IN => {
                (Self::Read { offset: offset_of(chain.sector)? }, &chain.writable[..], &chain.readable[..])
            }
            VIRTIO_BLK_T_OUT => {
                (Self::Write { offset: offset_of(chain.sector)? }, &chain.readable[..], &chain.writable[..])
            }
            VIRTIO_BLK_T_FLUSH => (Self::Flush, &chain.readable[..], &chain.writable[..]),
            VIRTIO_BLK_T_DISCARD => (Self::decode_discard(chain, memory)?, &[][..], &chain.writable[..]),
            VIRTIO_BLK_T_WRITE_ZEROES => {
                (Self::decode_write_zeroes(chain, memory)?, &[][..], &chain.writable[..])
            }
            _ => return Err(DiskStatus::Unsupported),
        };
        let possible = unused.is_empty() && operation.is_possible(data, config);
        if possible { Ok((operation, data.to_vec())) } else { Err(DiskStatus::IoError) }
    }

    fn decode_discard(chain: &Chain, memory: &Ram) -> Result<Self, DiskStatus> {
        let Range { offset, len, flags } = Range::read(chain, memory)?;
        if flags == 0 { Ok(Self::Discard { offset, len }) } else { Err(DiskStatus::Unsupported) }
    }

    fn decode_write_zeroes(chain: &Chain, memory: &Ram) -> Result<Self, DiskStatus> {
        let Range { offset, len, flags } = Range::read(chain, memory)?;
        match flags {
            0 | VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP => {
                Ok(Self::WriteZeroes { offset, len, may_unmap: flags != 0 })
            }
            _ => Err(DiskStatus::Unsupported),
        }
    }

    /// Within what the configuration space offers, with data in `segments`.
    fn is_possible(&self, segments: &[Segment], config: &DiskConfig) -> bool {
        let data_len = segment::total_len(segments);
        let transfers =
            segments.len() <= MAX_SEGMENTS && data_len != 0 && data_len <= MAX_REQUEST_BYTES.into();
        let covers = |offset, len, max_sectors: u32| {
            segments.is_empty() && config.holds(offset, len) && len / SECTOR_SIZE <= max_sectors.into()
        };
        match *self {
            Self::Read { offset } => transfers && config.holds(offset, data_len),
            Self::Write { offset } => transfers && config.holds(offset, data_len) && !config.readonly,
            Self::Flush => segments.is_empty(),
            Self::Discard { offset, len } => covers(offset, len, MAX_DISCARD_SECTORS) && !config.readonly,
            Self::WriteZeroes { offset, len, may_unmap: _ } => {
                covers(offset, len, MAX_WRITE_ZEROES_SECTORS) && !config.readonly
            }
        }
    }
}

/// The data of a discard or a write of zeroes: one range.
struct Range {
    offset: u64,
    len: u64,
    flags: u32,
}

impl Range {
    fn read(chain: &Chain, memory: &Ram) -> Result<Self, DiskStatus> {
        if segment::total_len(&chain.readable) != 16 {
            return Err(DiskStatus::IoError);
        }
        let data = segment::read(&chain.readable, memory).ok_or(DiskStatus::IoError)?;
        let half = |at| u32::from_le_bytes(std::array::from_fn(|byte| data[at + byte]));
        let sector = u64::from(half(4)) << 32 | u64::from(half(0));
        Ok(Range { offset: offset_of(sector)?, len: u64::from(half(8)) * SECTOR_SIZE, flags: half(12) })
    }
}

fn offset_of(sector: u64) -> Result<u64, DiskStatus> {
    sector.checked_mul(SECTOR_SIZE).ok_or(DiskStatus::IoError)
}
