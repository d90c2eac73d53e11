//! The directory behind an arbiter: held open from the start, and known by an identity that is written into it.
//!
//! A mount can go away and leave an ordinary directory below its path. So each look goes to the path and makes sure that
//! it still leads to the directory that was opened, or to one with the same inode number and identity (a file system
//! that was mounted again); anything else is an error, never an answer.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, linkat, openat, statat, unlinkat};

use super::ArbiterError;
use crate::identity::random;

/// The file that makes a directory an arbiter's.
const IDENTITY: &str = "ftvmm-arbiter";
/// The longest file of an arbiter, in bytes.
const MAX_FILE: u64 = 4096;
/// What a file is called until it is whole.
const TEMPORARY: &str = ".claim-";
/// Attempts to find a free name for a temporary file.
const MOST_NAMES: u32 = 64;
/// Temporary files of processes that died are removed when they are this old.
const LITTER_AGE: Duration = Duration::from_secs(24 * 3600);

/// The directory, checked.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    identity: String,
    held: Mutex<File>,
}

/// The directory as it was just found, for the files in it.
pub struct Place {
    file: File,
    path: PathBuf,
}

impl Directory {
    /// Opens an existing directory; the first to do so makes it an arbiter's.
    pub fn open(path: &Path) -> Result<Self, ArbiterError> {
        let failed = |source| ArbiterError::Directory { path: path.to_owned(), source };
        let file = open_directory(path).map_err(failed)?;
        let place = Place { file, path: path.to_owned() };
        let identity = match place.read(IDENTITY)? {
            Some(identity) => identity,
            None => place.create_identity()?,
        };
        let held = Mutex::new(place.file);
        Ok(Self { path: path.to_owned(), identity, held })
    }

    /// The identity that is written into it.
    pub fn identity(&self) -> &str {
        self.identity.trim()
    }

    /// Makes sure that it is still there.
    pub fn look(&self) -> Result<Place, ArbiterError> {
        let failed = |source| ArbiterError::Directory { path: self.path.clone(), source };
        let found = open_directory(&self.path).map_err(failed)?;
        let same = |ours: &fs::Metadata, theirs: &fs::Metadata| ours.ino() == theirs.ino();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, now) = (held.metadata().map_err(failed)?, found.metadata().map_err(failed)?);
        let place = Place { file: found.try_clone().map_err(failed)?, path: self.path.clone() };
        if !same(&before, &now) || place.read(IDENTITY)?.as_ref() != Some(&self.identity) {
            return Err(ArbiterError::Replaced { path: self.path.clone() });
        }
        if before.dev() != now.dev() {
            *held = found;
        }
        Ok(place)
    }
}

impl Place {
    /// What a file holds, if there is one.
    ///
    /// A host that mounts the directory by NFS remembers for up to a minute that a name was not there, also when another
    /// host has made a file of that name since. To open the directory makes it ask the server whether the directory has
    /// changed (close-to-open consistency), and forget such names if it has. So what is not there is looked for again
    /// through the directory opened anew: a generation that another has won must not look free.
    pub fn read(&self, name: &str) -> Result<Option<String>, ArbiterError> {
        let failed = |error: rustix::io::Errno| self.failed("read", name, error.into());
        let found = match open_in(&self.file, name).map_err(failed)? {
            None => open_in(&self.anew().map_err(failed)?, name).map_err(failed)?,
            found => found,
        };
        let Some(file) = found else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = file.take(MAX_FILE + 1).read_to_end(&mut bytes);
        read.map_err(|source| self.failed("read", name, source))?;
        let found = bytes.len();
        let whole = bytes.ends_with(b"\n") && found as u64 <= MAX_FILE;
        match String::from_utf8(bytes) {
            Ok(text) if whole => Ok(Some(text)),
            _ => Err(ArbiterError::Damaged { path: self.path.join(name), found }),
        }
    }

    /// Makes a file that appears whole and safe, unless there is one of that name: the test-and-set. Whoever made it, it
    /// is on stable storage when this returns.
    pub fn create(&self, name: &str, text: &str) -> Result<(), ArbiterError> {
        let temporary = self.write_temporary(text)?;
        match linkat(&self.file, &temporary.name, &self.file, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            // The answer of a file server can be lost.
            Err(_) if temporary.is_linked_twice() => {}
            Err(error) => return Err(self.failed("link", name, error.into())),
        }
        self.sync()
    }

    /// Removes a file, if it is there.
    pub fn remove(&self, name: &str) -> Result<(), ArbiterError> {
        match unlinkat(&self.file, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(self.failed("remove", name, error.into())),
        }
    }

    /// Where a file is, for messages.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The directory itself, opened anew.
    fn anew(&self) -> rustix::io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(openat(&self.file, ".", flags, Mode::empty())?.into())
    }

    /// The names of all files, temporary ones left out. Read through the directory opened anew, see [`Place::read`].
    pub fn names(&self) -> Result<Vec<String>, ArbiterError> {
        let failed = |source: io::Error| self.failed("list", ".", source);
        let directory = Dir::read_from(&self.file).map_err(|error| failed(error.into()))?;
        let mut names = Vec::new();
        for entry in directory {
            let entry = entry.map_err(|error| failed(error.into()))?;
            if let Ok(name) = entry.file_name().to_str()
                && !name.starts_with('.')
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Waits until what was made and removed is so on stable storage.
    pub fn sync(&self) -> Result<(), ArbiterError> {
        self.file.sync_all().map_err(|source| self.failed("sync", ".", source))
    }

    /// Removes what processes that died have left behind.
    pub fn sweep(&self) {
        let Ok(directory) = Dir::read_from(&self.file) else { return };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        for entry in directory.flatten() {
            let old = statat(&self.file, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| now.as_secs() as i64 - stat.st_mtime > LITTER_AGE.as_secs() as i64);
            if old && entry.file_name().to_bytes().starts_with(TEMPORARY.as_bytes()) {
                let _ = unlinkat(&self.file, entry.file_name(), AtFlags::empty());
            }
        }
    }

    fn create_identity(&self) -> Result<String, ArbiterError> {
        let id = random::<16>().map_err(|source| self.failed("create", IDENTITY, source))?;
        let text = id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        self.create(IDENTITY, &format!("{text}\n"))?;
        // Another host may have been the first.
        let lost = || self.failed("read", IDENTITY, ErrorKind::NotFound.into());
        self.read(IDENTITY)?.ok_or_else(lost)
    }

    fn write_temporary(&self, text: &str) -> Result<Temporary<'_>, ArbiterError> {
        let (mut file, temporary) = self.create_temporary()?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(|source| self.failed("write", &temporary.name, source))?;
        Ok(temporary)
    }

    /// Other hosts, and earlier processes with our id, use the same directory: a taken name is no error.
    fn create_temporary(&self) -> Result<(File, Temporary<'_>), ArbiterError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let name = format!("{TEMPORARY}{}-{number}", std::process::id());
            match openat(&self.file, &name, flags, Mode::from_raw_mode(0o644)) {
                Ok(file) => return Ok((file.into(), Temporary { directory: self.file.as_fd(), name })),
                Err(rustix::io::Errno::EXIST) if attempt < MOST_NAMES => {}
                Err(error) => return Err(self.failed("create", &name, error.into())),
            }
        }
    }

    fn failed(&self, action: &'static str, name: &str, source: io::Error) -> ArbiterError {
        ArbiterError::Io { action, path: self.path.join(name), source }
    }
}

/// Opens a file for reading, if it is there.
fn open_in(directory: &File, name: &str) -> rustix::io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match openat(directory, name, flags, Mode::empty()) {
        Ok(file) => Ok(Some(file.into())),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// A file that is written and synced under a name of its own; removed when dropped.
struct Temporary<'a> {
    directory: BorrowedFd<'a>,
    name: String,
}

impl Temporary<'_> {
    fn is_linked_twice(&self) -> bool {
        statat(self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| stat.st_nlink == 2)
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // One left behind is litter, not a claim.
        let _ = unlinkat(self.directory, &self.name, AtFlags::empty());
    }
}
