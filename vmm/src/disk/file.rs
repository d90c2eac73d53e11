//! Opening what is behind a disk, and keeping two VMs from doing so by mistake.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom},
    os::{
        fd::AsRawFd,
        unix::fs::{FileTypeExt, OpenOptionsExt},
    },
    path::PathBuf,
};

use ftlog::DiskShape;
use rustix::fs::{Advice, fadvise};

use super::{DiskError, DiskOption, SECTOR, Use, device, lock};

/// An open file behind a disk. Its locks last as long as this.
#[derive(Debug)]
pub struct Backing {
    /// The file.
    pub file: File,
    /// Its name.
    pub path: PathBuf,
    /// What the guest and the other side see of it.
    pub shape: DiskShape,
    /// The file behind a loop device, locked like it as long as this is open.
    pub behind: Option<File>,
}

impl Backing {
    /// Opens and locks the file of `option`.
    pub fn open(option: &DiskOption, usage: Use) -> Result<Self, DiskError> {
        let path = &option.path;
        let failed = |source| DiskError::Open { path: path.clone(), source };
        let mut file = open_unused(option)?;
        // The size of a block device is nowhere else.
        let bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
        if bytes == 0 || !bytes.is_multiple_of(SECTOR) {
            return Err(DiskError::Size { path: path.clone(), bytes });
        }
        let shape = DiskShape { sectors: bytes / SECTOR, readonly: option.readonly, mode: option.mode };
        lock::lock(&file, path, shape, usage)?;
        let behind = file_behind(&file, option).map_err(failed)?;
        if let Some(behind) = &behind {
            lock::lock(behind, path, shape, usage)?;
        }
        Ok(Self { file, path: path.clone(), shape, behind })
    }

    /// The same file, opened anew: a network file system compares what it has cached only then. It is not looked for by
    /// its name, which may lead elsewhere by now, and must not have shrunk or grown.
    pub fn reopen(&self) -> Result<File, DiskError> {
        let failed = |source| DiskError::Open { path: self.path.clone(), source };
        let held = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let mut again =
            OpenOptions::new().read(true).write(!self.shape.readonly).open(held).map_err(failed)?;
        let bytes = again.seek(SeekFrom::End(0)).map_err(failed)?;
        if bytes != self.bytes() {
            return Err(DiskError::Size { path: self.path.clone(), bytes });
        }
        // What this host has in its cache, of a block device for one, is older than what the other has written.
        if let Err(error) = fadvise(&again, 0, None, Advice::DontNeed) {
            tracing::debug!(disk = %self.path.display(), %error, "the cache is kept");
        }
        Ok(again)
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.shape.sectors * SECTOR
    }
}

/// Opens what the host itself does not use: a block device that is mounted, or part of another, is not to be had
/// exclusively.
fn open_unused(option: &DiskOption) -> Result<File, DiskError> {
    let path = &option.path;
    let failed = |source| DiskError::Open { path: path.clone(), source };
    let kind = fs::metadata(path).map_err(failed)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(DiskError::Kind { path: path.clone() });
    }
    let open = |flags| {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(!option.readonly).custom_flags(flags).open(path);
        file.map_err(|error| match error.raw_os_error() {
            Some(libc::EBUSY) => DiskError::Mounted { path: path.clone() },
            _ => failed(error),
        })
    };
    let file = if kind.is_block_device() {
        let exclusive = open(libc::O_EXCL)?;
        // Others may read it too, but nobody may have it mounted.
        if option.readonly { open(0)? } else { exclusive }
    } else {
        open(0)?
    };
    let opened = file.metadata().map_err(failed)?.file_type();
    if opened != kind {
        return Err(DiskError::Kind { path: path.clone() });
    }
    if let Some(device) = kind.is_file().then(|| device::loop_over(&file)).flatten() {
        return Err(DiskError::Looped { path: path.clone(), device });
    }
    Ok(file)
}

/// The file behind a loop device, so that nobody uses it beside that.
fn file_behind(file: &File, option: &DiskOption) -> io::Result<Option<File>> {
    let metadata = file.metadata()?;
    if !metadata.file_type().is_block_device() {
        return Ok(None);
    }
    let rdev = std::os::unix::fs::MetadataExt::rdev(&metadata);
    let Some(path) = device::loop_file(rdev) else { return Ok(None) };
    match OpenOptions::new().read(true).write(!option.readonly).open(&path) {
        Ok(behind) => Ok(Some(behind)),
        // It has another name here, or none.
        Err(error) => {
            tracing::debug!(disk = %option.path.display(), %error, "the file behind it, {}, is not locked", path.display());
            Ok(None)
        }
    }
}
