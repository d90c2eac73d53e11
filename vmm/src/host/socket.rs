//! Sockets in the file system that are this process's own.
//!
//! A path that a user names may hold anything: a disk image, a device, another program's socket, the socket of a VM that
//! runs. A socket is removed only when it is known to be a dead one of ours, and that is known from a *lock file* beside
//! it, `PATH.lock`: who listens holds a lock on it for as long as the process lives (also while it is stopped, when it
//! answers nobody), and writes down which socket it made, by device and inode. To connect would not tell: a socket that
//! refuses may be another program's, or one that is about to listen.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Seek, Write},
    os::unix::{
        fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rustix::{
    fs::{FlockOperation, Mode, fchmod, flock},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
};

/// What a lock file begins with.
const MARK: &str = "ftvmm socket ";
/// The longest lock file of ours.
const MAX_LOCK: u64 = 256;
/// Clients that may wait to be let in, as the standard library has it: to one more the kernel says "try again".
const BACKLOG: i32 = 128;

/// Why a socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Something is there that no ftvmm left behind.
    #[error(
        "{path} is there already, and it is {what}: remove it if nobody needs it, or choose another path"
    )]
    NotOurs {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A process that lives has it.
    #[error("{0} belongs to another ftvmm process that runs")]
    InUse(PathBuf),
    /// The system refuses.
    #[error("cannot listen at {path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Which file it is, by any name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    fn of(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), number: metadata.ino() }
    }

    fn at(path: &Path) -> io::Result<Self> {
        fs::symlink_metadata(path).map(|metadata| Self::of(&metadata))
    }
}

/// A path at which this process listens. The socket is removed with [`OwnSocket::remove`], at the latest when this is
/// dropped, and only if it still is the one that was made.
#[derive(Debug)]
pub struct OwnSocket {
    path: PathBuf,
    inode: Inode,
    lock: Mutex<Option<File>>,
}

impl OwnSocket {
    /// Listens at `path`, where only this user may connect. What a dead process of ours left there is replaced; nothing
    /// else is touched.
    ///
    /// # Errors
    /// [`SocketError`]
    pub fn listen(path: &Path) -> Result<(UnixListener, Self), SocketError> {
        // The process may change its directory, and `status` tells the path to others.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let io = |source: io::Error| SocketError::Io { path: path.clone(), source };
        // Before anything is made for it.
        let address = SocketAddrUnix::new(&path)
            .map_err(|_| io(io::Error::other("the path is too long for a socket")))?;
        refuse_others(&path)?;
        let mut lock = lock_beside(&path)?;
        remove_stale(&path, &mut lock)?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|e| io(e.into()))?;
        // The file gets the mode that the socket has before it is bound.
        let made = fchmod(&socket, Mode::RUSR | Mode::WUSR).and_then(|()| bind(&socket, &address));
        made.map_err(|error| io(error.into()))?;
        let inode = Inode::at(&path).map_err(io)?;
        let own = Self { path: path.clone(), inode, lock: Mutex::new(None) };
        note(&mut lock, inode).map_err(io)?;
        *own.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
        listen(&socket, BACKLOG).map_err(|error| io(error.into()))?;
        Ok((UnixListener::from(socket), own))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the socket, and the lock file after it. What else may have come to its path stays.
    pub fn remove(&self) {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(lock) = lock else { return };
        if Inode::at(&self.path).is_ok_and(|there| there == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
        let beside = lock_path(&self.path);
        if is_at(&lock, &beside) {
            let _ = fs::remove_file(beside);
        }
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        self.remove();
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Whatever is no socket is not ours, whatever a lock file says.
fn refuse_others(path: &Path) -> Result<(), SocketError> {
    let Ok(there) = fs::symlink_metadata(path) else { return Ok(()) };
    let kind = there.file_type();
    let what = match () {
        () if kind.is_socket() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_block_device() || kind.is_char_device() => "a device",
        () => "a file",
    };
    Err(SocketError::NotOurs { path: path.to_owned(), what })
}

/// The lock file, locked. A process that ends removes it, so that it must still be there once it is locked.
fn lock_beside(path: &Path) -> Result<File, SocketError> {
    let beside = lock_path(path);
    let io = |source: io::Error| SocketError::Io { path: beside.clone(), source };
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
        let lock = options.open(&beside).map_err(io)?;
        if !lock.metadata().map_err(io)?.is_file() {
            return Err(SocketError::NotOurs { path: beside.clone(), what: "no lock file of ours" });
        }
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_at(&lock, &beside) => return Ok(lock),
            Ok(()) | Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return Err(SocketError::InUse(path.to_owned())),
            Err(error) => return Err(io(error.into())),
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let ours = file.metadata().map(|metadata| Inode::of(&metadata));
    matches!((ours, Inode::at(path)), (Ok(ours), Ok(there)) if ours == there)
}

/// Removes the socket that the lock file names. Its maker is dead, since we have the lock.
fn remove_stale(path: &Path, lock: &mut File) -> Result<(), SocketError> {
    let io = |source: io::Error| SocketError::Io { path: path.to_owned(), source };
    let mut noted = String::new();
    let is_text = lock.take(MAX_LOCK).read_to_string(&mut noted).is_ok();
    if !is_text || !noted.is_empty() && !noted.starts_with(MARK) {
        return Err(SocketError::NotOurs { path: lock_path(path), what: "no lock file of ours" });
    }
    let there = match Inode::at(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        there => there.map_err(io)?,
    };
    if noted != line(there) {
        return Err(SocketError::NotOurs { path: path.to_owned(), what: "a socket that no ftvmm made" });
    }
    fs::remove_file(path).map_err(io)
}

fn line(inode: Inode) -> String {
    format!("{MARK}{}:{}\n", inode.device, inode.number)
}

fn note(lock: &mut File, inode: Inode) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    lock.write_all(line(inode).as_bytes())
}

#[cfg(test)]
mod tests;
