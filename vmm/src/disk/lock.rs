//! Locks that keep two VMs from one image, and two live sides from one shared disk.
//!
//! They are locks of the open file description (`F_OFD_SETLK`, fcntl(2)) on its first bytes: a process holds them as
//! long as it has the file open, however it ends. Between processes of one host they always work. Between hosts they do
//! on NFS (the server holds them, and gives them back when the lease of a host that is gone has run out) and on cluster
//! file systems; for a block device that two hosts reach they do not, and the stamp is what tells one VM from another.
//!
//! | byte | who | how |
//! |---|---|---|
//! | 0: used | whoever has the file alone | write |
//! | | both sides of a pair that shares it, and readers | read |
//! | 1: live | the live side of such a pair | write |
//! | | readers | read |

use std::{
    fs::File,
    io,
    ops::Range,
    os::fd::AsRawFd,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use ftlog::{DiskMode, DiskShape};

use super::DiskError;
use crate::host::reserve;

/// What the file of a disk is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// By a VM on this host alone.
    Alone,
    /// By one side of a pair.
    Pair,
}

/// How long a file may be in use before that is an error: the kernel takes the io_uring of a process that was killed
/// apart in the background, and the file is locked until it has.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it is looked at meanwhile.
const AGAIN: Duration = Duration::from_millis(20);
/// How long a new live side tries to have the lock that the old one had: longer than the lease of an NFS client.
const TAKEOVER_PATIENCE: Duration = Duration::from_secs(180);
/// How often.
const TAKEOVER_AGAIN: Duration = Duration::from_millis(500);

const USED: Range<i64> = 0..1;
const LIVE: Range<i64> = 1..2;
const BOTH: Range<i64> = 0..2;

#[derive(Clone, Copy)]
enum Kind {
    Read,
    Write,
}

/// Locks a file that is opened to be used like this.
pub fn lock(file: &File, path: &Path, shape: DiskShape, usage: Use) -> Result<(), DiskError> {
    let (kind, bytes) = match shape.mode {
        _ if shape.readonly => (Kind::Read, BOTH),
        DiskMode::Shared if usage == Use::Pair => (Kind::Read, USED),
        _ => (Kind::Write, BOTH),
    };
    wait_for(file, path, kind, bytes)
}

/// Locks a shared disk as its live side, before that starts: nobody else can be.
pub fn lock_live(file: &File, path: &Path) -> Result<(), DiskError> {
    wait_for(file, path, Kind::Write, LIVE)
}

/// Locks a shared disk as its live side which has won the VM from another: that one's lock is not waited for, as a host
/// that is gone may leave it behind, but had as soon as it can be.
pub fn take_live_over(file: &File, path: &Path) {
    if matches!(try_lock(file, Kind::Write, LIVE), Ok(true)) {
        return;
    }
    if let Err(error) = take_later(file, path) {
        tracing::warn!(%error, "the lock of the live side is not taken; the stamp keeps others out");
    }
}

fn take_later(file: &File, path: &Path) -> io::Result<()> {
    let file = file.try_clone()?;
    let path = path.to_owned();
    let take = move || {
        let deadline = Instant::now() + TAKEOVER_PATIENCE;
        while Instant::now() < deadline {
            if !matches!(try_lock(&file, Kind::Write, LIVE), Ok(false)) {
                return;
            }
            thread::sleep(TAKEOVER_AGAIN);
        }
        tracing::warn!(disk = %path.display(), "the lock of the live side is held elsewhere; the stamp keeps others out");
    };
    reserve::spawn("lock", take).map(drop)
}

fn wait_for(file: &File, path: &Path, kind: Kind, bytes: Range<i64>) -> Result<(), DiskError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match try_lock(file, kind, bytes.clone()) {
            Ok(true) => return Ok(()),
            Ok(false) if Instant::now() < deadline => thread::sleep(AGAIN),
            Ok(false) => return Err(DiskError::Busy { path: path.to_owned() }),
            Err(error) => {
                tracing::warn!(disk = %path.display(), %error, "the disk cannot be locked; keep others from using it");
                return Ok(());
            }
        }
    }
}

/// True when the lock is ours, false when another open file has one against it.
fn try_lock(file: &File, kind: Kind, bytes: Range<i64>) -> io::Result<bool> {
    let lock = libc::flock {
        l_type: match kind {
            Kind::Read => libc::F_RDLCK,
            Kind::Write => libc::F_WRLCK,
        } as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: bytes.start,
        l_len: bytes.end - bytes.start,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the kernel only reads the structure, which lives until the call returns.
    #[allow(unsafe_code)]
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if result == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        error => Err(error),
    }
}
