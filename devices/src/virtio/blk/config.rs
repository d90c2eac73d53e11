//! The shape of a disk, and how a driver reads it.

use serde::{Deserialize, Serialize};
use virtio_bindings::bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_F_WRITE_ZEROES, VIRTIO_BLK_ID_BYTES,
};
use virtio_bindings::bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

use super::request::MAX_REQUEST_BYTES;

/// The only queue.
pub(super) const QUEUE: usize = 0;

pub(super) const SECTOR_SIZE: u64 = 512;
/// Most sectors of a disk: its size in bytes is a file offset.
const MAX_SECTORS: u64 = i64::MAX as u64 / SECTOR_SIZE;
/// Length of the serial number as a driver reads it.
pub(super) const ID_LEN: usize = VIRTIO_BLK_ID_BYTES as usize;

/// Most buffers that the data of one request lies in.
pub(super) const MAX_SEGMENTS: usize = 64;
const MAX_SEGMENT_BYTES: u32 = MAX_REQUEST_BYTES / MAX_SEGMENTS as u32;
/// Most sectors of one discard: 128 MiB.
pub(super) const MAX_DISCARD_SECTORS: u32 = 1 << 18;
/// Most sectors of one write of zeroes: 16 MiB, as the backing file may have to write them all.
pub(super) const MAX_WRITE_ZEROES_SECTORS: u32 = 1 << 15;
/// Discards should begin at whole pages of the backing file.
const DISCARD_ALIGNMENT_SECTORS: u32 = 8;

const FEATURES: u64 = 1 << VIRTIO_BLK_F_SIZE_MAX
    | 1 << VIRTIO_BLK_F_SEG_MAX
    | 1 << VIRTIO_BLK_F_BLK_SIZE
    | 1 << VIRTIO_BLK_F_FLUSH
    | 1 << VIRTIO_BLK_F_DISCARD
    | 1 << VIRTIO_BLK_F_WRITE_ZEROES
    | 1 << VIRTIO_RING_F_EVENT_IDX
    | 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// The shape of a disk: what the two sides of a pair must agree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskConfig {
    /// Its size in sectors of 512 bytes; a size of more than 2^63 - 1 bytes is cut to that.
    pub sectors: u64,
    /// The guest cannot write it.
    pub readonly: bool,
    /// Its serial number, of which a guest sees the first 20 bytes.
    pub id: String,
}

impl DiskConfig {
    /// The same within what a disk can be.
    pub(super) fn bounded(mut self) -> Self {
        self.sectors = self.sectors.min(MAX_SECTORS);
        let id_len = (0..=ID_LEN).rfind(|len| self.id.is_char_boundary(*len)).unwrap_or(0);
        self.id.truncate(id_len);
        self
    }

    /// A disk can be like that.
    pub(super) fn is_bounded(&self) -> bool {
        self.sectors <= MAX_SECTORS && self.id.len() <= ID_LEN
    }

    pub(super) fn features(&self) -> u64 {
        FEATURES | u64::from(self.readonly) << VIRTIO_BLK_F_RO
    }

    /// Without the flush there would have to be a cache that writes through, which this disk does not have (virtio
    /// 1.2, section 5.2.6.2).
    pub(super) fn required_features(&self) -> u64 {
        u64::from(!self.readonly) << VIRTIO_BLK_F_FLUSH
    }

    /// The configuration space (section 5.2.4); what no feature was offered for is zero.
    pub(super) fn space(&self) -> Vec<u8> {
        let mut space = vec![0; 60];
        let mut put = |at: usize, bytes: &[u8]| space[at..][..bytes.len()].copy_from_slice(bytes);
        put(0, &self.sectors.to_le_bytes());
        put(8, &MAX_SEGMENT_BYTES.to_le_bytes());
        put(12, &(MAX_SEGMENTS as u32).to_le_bytes());
        put(20, &(SECTOR_SIZE as u32).to_le_bytes());
        put(36, &MAX_DISCARD_SECTORS.to_le_bytes());
        put(40, &1u32.to_le_bytes());
        put(44, &DISCARD_ALIGNMENT_SECTORS.to_le_bytes());
        put(48, &MAX_WRITE_ZEROES_SECTORS.to_le_bytes());
        put(52, &1u32.to_le_bytes());
        // A write of zeroes may unmap.
        put(56, &[1]);
        space
    }

    /// What a driver reads as the serial number.
    pub(super) fn id_bytes(&self) -> [u8; ID_LEN] {
        let mut bytes = [0; ID_LEN];
        bytes[..self.id.len()].copy_from_slice(self.id.as_bytes());
        bytes
    }

    /// The range is whole sectors of the disk, and not none.
    pub(super) fn holds(&self, offset: u64, len: u64) -> bool {
        let whole = len != 0 && (offset | len).is_multiple_of(SECTOR_SIZE);
        whole && offset.checked_add(len).is_some_and(|end| end <= self.sectors * SECTOR_SIZE)
    }
}
