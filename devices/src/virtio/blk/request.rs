//! What the disk asks of its backing file.

/// The most bytes that one request reads or writes: `seg_max` × `size_max` of the configuration space.
pub const MAX_REQUEST_BYTES: u32 = 256 << 10;
/// The bytes of data in flight at which a disk takes no more requests; with the last one that it took there may be
/// [`MAX_REQUEST_BYTES`] more. Eight of the largest requests keep a file busy, and a queue full of them, 64 MiB for each
/// disk, is more than a host should have to keep.
pub const MAX_IN_FLIGHT_BYTES: u64 = 2 << 20;

/// One request of the guest, copied out of its memory. The backing file answers it with a [`DiskStatus`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskRequest {
    /// The virtio slot of the disk.
    pub slot: u8,
    /// Which of the disk's requests this is; counted from power-on, never used again.
    pub id: u64,
    /// What to do.
    pub operation: DiskOperation,
}

/// What a disk can be asked to do. Offsets and lengths are in bytes, multiples of 512, within the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOperation {
    /// Read `len` bytes, at most [`MAX_REQUEST_BYTES`].
    Read {
        /// Where.
        offset: u64,
        /// How many bytes.
        len: u32,
    },
    /// Write, at most [`MAX_REQUEST_BYTES`].
    Write {
        /// Where.
        offset: u64,
        /// What.
        data: Vec<u8>,
    },
    /// Everything completed so far must survive a loss of power.
    Flush,
    /// The range is of no more use; what it reads as afterwards is not defined.
    Discard {
        /// Where it begins.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// The range reads as zeroes afterwards.
    WriteZeroes {
        /// Where it begins.
        offset: u64,
        /// How many bytes.
        len: u64,
        /// The backing file may give the space back.
        may_unmap: bool,
    },
}

/// How a request ended (virtio 1.2, section 5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DiskStatus {
    /// Done.
    Ok = 0,
    /// It failed.
    IoError = 1,
    /// The backing file cannot do that.
    Unsupported = 2,
}

impl TryFrom<u8> for DiskStatus {
    type Error = u8;

    fn try_from(value: u8) -> Result<Self, u8> {
        match value {
            0 => Ok(Self::Ok),
            1 => Ok(Self::IoError),
            2 => Ok(Self::Unsupported),
            other => Err(other),
        }
    }
}
