//! Why a disk cannot be had.

use std::{io, path::PathBuf};

use super::SECTOR;

/// Why a disk cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// There are too many.
    #[error("{count} disks, at most {} fit", ftlog::MAX_DISKS)]
    Count {
        /// How many.
        count: usize,
    },
    /// The file cannot be opened, or its size not be found.
    #[error("cannot open the disk {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the host answered.
        source: io::Error,
    },
    /// It is no file that could be a disk.
    #[error("the disk {} is neither a regular file nor a block device", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
    },
    /// It has no whole sectors, or none at all.
    #[error("the disk {} has {bytes} bytes; a disk has one or more sectors of {SECTOR} bytes", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Another process has it.
    #[error("the disk {} is used by another process", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The host uses the block device, or somebody else has it exclusively.
    #[error(
        "the disk {} is used by the host or by another VM: it, or a part of it, is mounted, swap, part of another device \
         (see lsblk), or open in another process (see fuser)",
        path.display()
    )]
    Mounted {
        /// The device.
        path: PathBuf,
    },
    /// The file is that of a loop device.
    #[error("the disk {} is used by the host: it is the file behind {device} (see losetup)", path.display())]
    Looped {
        /// The file.
        path: PathBuf,
        /// The loop device.
        device: String,
    },
    /// One VM would have it twice.
    #[error("the disks {} and {} are the same", first.display(), second.display())]
    Twice {
        /// A name of it.
        first: PathBuf,
        /// Another one.
        second: PathBuf,
    },
    /// What is known of the copy cannot be read or written.
    #[error("the disk {}: {source}", path.display())]
    Stamp {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// Its stamp says that no VM should start from it.
    #[error("{reason}")]
    Unfit {
        /// Why.
        reason: String,
    },
    /// The host has no io_uring for us.
    #[error("no io_uring for the disk {}: {source}; see /proc/sys/kernel/io_uring_disabled", path.display())]
    Ring {
        /// The file.
        path: PathBuf,
        /// What the host answered.
        source: io::Error,
    },
}
