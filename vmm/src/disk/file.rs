//! Opening what is behind a disk, and keeping two VMs from doing so by mistake.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom},
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use ftlog::{DiskMode, DiskShape};
use rustix::{
    fs::{Advice, FlockOperation, fadvise, flock},
    io::Errno,
};

use super::DiskOption;

/// Bytes in a sector.
pub const SECTOR: u64 = 512;

/// How long a file may be in use before that is an error: the kernel takes the io_uring of a process that was killed
/// apart in the background, and the file is locked until it has.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
/// How often it is looked at meanwhile.
const LOCK_AGAIN: Duration = Duration::from_millis(20);

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
    /// The host has no io_uring for us.
    #[error("no io_uring for the disk {}: {source}; see /proc/sys/kernel/io_uring_disabled", path.display())]
    Ring {
        /// The file.
        path: PathBuf,
        /// What the host answered.
        source: io::Error,
    },
}

/// What the file of a disk is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// By a VM on this host alone.
    Alone,
    /// By one side of a pair.
    Pair,
}

/// An open file behind a disk. Its lock lasts as long as this.
#[derive(Debug)]
pub struct Backing {
    /// The file.
    pub file: File,
    /// Its name.
    pub path: PathBuf,
    /// What the guest and the other side see of it.
    pub shape: DiskShape,
    usage: Use,
}

impl Backing {
    /// Opens and locks the file of `option`.
    pub fn open(option: &DiskOption, usage: Use) -> Result<Self, DiskError> {
        let path = &option.path;
        let failed = |source| DiskError::Open { path: path.clone(), source };
        let mut file = OpenOptions::new().read(true).write(!option.readonly).open(path).map_err(failed)?;
        let kind = file.metadata().map_err(failed)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(DiskError::Kind { path: path.clone() });
        }
        // The size of a block device is nowhere else.
        let bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
        if bytes == 0 || !bytes.is_multiple_of(SECTOR) {
            return Err(DiskError::Size { path: path.clone(), bytes });
        }
        let shape = DiskShape { sectors: bytes / SECTOR, readonly: option.readonly, mode: option.mode };
        lock(&file, path, shape, usage)?;
        Ok(Self { file, path: path.clone(), shape, usage })
    }

    /// The same, opened anew: a network file system compares what it has cached only then. It must not have shrunk
    /// or grown.
    pub fn reopen(&self) -> Result<Self, DiskError> {
        let DiskShape { sectors: _, readonly, mode } = self.shape;
        let again = Self::open(&DiskOption { path: self.path.clone(), mode, readonly }, self.usage)?;
        if again.shape == self.shape {
            // What this host has in its cache, of a block device for one, is older than what the other has written.
            if let Err(error) = fadvise(&again.file, 0, None, Advice::DontNeed) {
                tracing::debug!(disk = %self.path.display(), %error, "the cache is kept");
            }
            return Ok(again);
        }
        Err(DiskError::Size { path: self.path.clone(), bytes: again.bytes() })
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.shape.sectors * SECTOR
    }
}

/// Two VMs on one image destroy it. A shared disk is open on both sides of a pair, where the arbiter decides who
/// writes it; a lock would only keep the survivor of a host that is gone from going on.
fn lock(file: &File, path: &Path, shape: DiskShape, usage: Use) -> Result<(), DiskError> {
    let many = shape.readonly || (usage == Use::Pair && shape.mode == DiskMode::Shared);
    let operation =
        if many { FlockOperation::NonBlockingLockShared } else { FlockOperation::NonBlockingLockExclusive };
    let deadline = Instant::now() + LOCK_PATIENCE;
    let mut locked = flock(file, operation);
    while locked == Err(Errno::WOULDBLOCK) && Instant::now() < deadline {
        thread::sleep(LOCK_AGAIN);
        locked = flock(file, operation);
    }
    match locked {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(DiskError::Busy { path: path.to_owned() }),
        Err(error) => {
            tracing::warn!(disk = %path.display(), %error, "the disk cannot be locked; keep others from using it");
            Ok(())
        }
    }
}
