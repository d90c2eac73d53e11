//! An arbiter made of files in a directory that both hosts share.
//!
//! `DIR/<vm>.<generation>` names the holder of a generation. It appears whole, by one `link(2)` of a file that was
//! written and synced before, and is never changed: the test-and-set is the file system's refusal to link over an
//! existing name. That holds on NFS too, where the reply to a `link` can be lost: the link count of the temporary
//! file then tells whether it happened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ftlog::{Generation, VmId};
use thiserror::Error;

use super::ClaimOutcome;
use crate::sabotage::{self, Check};

/// The longest name of a holder, in bytes.
pub const MAX_HOLDER: usize = 256;
/// Attempts to find a free name for a temporary file.
const MOST_NAMES: u32 = 64;

/// What can go wrong with an arbiter directory.
#[derive(Debug, Error)]
pub enum ArbiterError {
    /// The arbiter was not given as `file:DIR`.
    #[error("{spec:?} names no arbiter: expected file:DIR")]
    Spec {
        /// What was given.
        spec: String,
    },
    /// The directory cannot be used.
    #[error("arbiter directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A step of a claim failed.
    #[error("arbiter: cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A claim's file does not hold a holder's name and a newline.
    #[error("arbiter: {} is no claim: {found} bytes", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its length, as far as it was read.
        found: usize,
    },
    /// A holder's name is empty, too long, or more than one line.
    #[error("{holder:?} cannot be a holder's name: 1 to {MAX_HOLDER} bytes on one line")]
    Holder {
        /// The name.
        holder: String,
    },
}

/// The directory.
#[derive(Debug)]
pub struct FileArbiter {
    directory: PathBuf,
}

impl FileArbiter {
    /// Opens `file:DIR`; the directory must exist, on a file system that both hosts see.
    ///
    /// # Errors
    /// [`ArbiterError::Spec`] or [`ArbiterError::Directory`].
    pub fn open(spec: &str) -> Result<Self, ArbiterError> {
        let path = spec.strip_prefix("file:").filter(|path| !path.is_empty());
        let path = PathBuf::from(path.ok_or_else(|| ArbiterError::Spec { spec: spec.to_owned() })?);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => Ok(Self { directory: path }),
            Ok(_) => Err(ArbiterError::Directory { path, source: io::ErrorKind::NotADirectory.into() }),
            Err(source) => Err(ArbiterError::Directory { path, source }),
        }
    }

    /// Claims `generation` of `vm` for `holder`. Blocks for as long as the file system does.
    ///
    /// May be repeated: a holder that has the generation wins it again. Holders' names must differ between processes
    /// that could both want the VM.
    #[must_use]
    pub fn claim(&self, vm: VmId, generation: Generation, holder: &str) -> ClaimOutcome {
        match self.try_claim(vm, generation, holder) {
            Ok(owner) if owner == holder || sabotage::disabled(Check::Arbiter) => ClaimOutcome::Won,
            Ok(owner) => ClaimOutcome::Lost { holder: owner },
            Err(error) => ClaimOutcome::Unavailable { reason: error.to_string() },
        }
    }

    /// Who holds `generation` of `vm`, if anybody does. Two sides that name the same holder see the same directory.
    ///
    /// # Errors
    /// [`ArbiterError::Io`] or [`ArbiterError::Damaged`].
    pub fn holder(&self, vm: VmId, generation: Generation) -> Result<Option<String>, ArbiterError> {
        let path = self.claim_path(vm, generation);
        match read_holder(&path) {
            Err(ArbiterError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// Enters a claim unless there is one, and gives the holder that is on disk for good.
    fn try_claim(&self, vm: VmId, generation: Generation, holder: &str) -> Result<String, ArbiterError> {
        if holder.is_empty() || holder.len() > MAX_HOLDER || holder.contains('\n') {
            return Err(ArbiterError::Holder { holder: holder.to_owned() });
        }
        // Most repeated and lost claims end here, without a temporary file.
        if let Some(owner) = self.holder(vm, generation)? {
            self.sync_directory()?;
            return Ok(owner);
        }
        let claim = self.claim_path(vm, generation);
        let temporary = Temporary::write(&self.directory, holder)?;
        match fs::hard_link(&temporary.path, &claim) {
            Ok(()) => {}
            // Somebody was faster, perhaps ourselves in a call whose reply was lost.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(_) if temporary.is_linked_twice() => {}
            Err(source) => return Err(ArbiterError::Io { action: "link", path: claim, source }),
        }
        // Before anybody acts on the answer it must survive a power failure, whoever entered it.
        self.sync_directory()?;
        read_holder(&claim)
    }

    fn claim_path(&self, vm: VmId, generation: Generation) -> PathBuf {
        self.directory.join(format!("{vm}.{generation}"))
    }

    fn sync_directory(&self) -> Result<(), ArbiterError> {
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| ArbiterError::Io { action: "sync", path: self.directory.clone(), source })
    }
}

/// A holder's name, written and synced under a name of its own; removed when dropped.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn write(directory: &Path, holder: &str) -> Result<Self, ArbiterError> {
        let (mut file, temporary) = Self::create(directory)?;
        file.write_all(holder.as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.sync_all())
            .map_err(|source| ArbiterError::Io { action: "write", path: temporary.path.clone(), source })?;
        Ok(temporary)
    }

    /// Other hosts, and earlier processes with our id, use the same directory: a taken name is no error.
    fn create(directory: &Path) -> Result<(File, Self), ArbiterError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let process = std::process::id();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!(".claim-{process}-{number}"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((file, Self { path })),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < MOST_NAMES => {}
                Err(source) => return Err(ArbiterError::Io { action: "create", path, source }),
            }
        }
    }

    fn is_linked_twice(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| metadata.nlink() == 2)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // One left behind is litter, not a claim.
        let _ = fs::remove_file(&self.path);
    }
}

fn read_holder(path: &Path) -> Result<String, ArbiterError> {
    let io_error = |source| ArbiterError::Io { action: "read", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let limit = MAX_HOLDER as u64 + 2;
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(io_error)?;
    let damaged = || ArbiterError::Damaged { path: path.to_owned(), found: bytes.len() };
    let name = bytes.strip_suffix(b"\n").filter(|name| !name.is_empty() && !name.contains(&b'\n'));
    String::from_utf8(name.ok_or_else(damaged)?.to_owned()).map_err(|_| damaged())
}

#[cfg(test)]
mod tests;
