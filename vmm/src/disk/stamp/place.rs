//! Where a disk's stamp, its undo journal and its write-intent bitmap are.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::AsRawFd,
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, statat, unlinkat};

use super::Stamp;
use crate::disk::device;

/// What is added to an image's name.
const STAMP: &str = ".ftvmm";
const UNDO: &str = ".ftvmm-undo";
const INTENTS: &str = ".ftvmm-intents";
/// What is added to what is not whole yet.
const NEW: &str = "-new";
/// The longest stamp, in bytes.
const MAX_STAMP: u64 = 16 << 10;
/// Where block devices have theirs, unless systemd has made a directory for this (`StateDirectory=`).
const STATE: &str = "/var/lib/ftvmm";

/// A directory, held open, and the name that a disk has in it.
#[derive(Debug)]
pub struct Place {
    directory: File,
    path: PathBuf,
    name: OsString,
}

impl Place {
    /// That of an open file or block device. A file is found by the name that it was opened by, symbolic links
    /// followed, and has it still.
    ///
    /// # Errors
    /// The host's, and that the file has no name any more, or another one.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if metadata.is_file() { Self::beside(file, &metadata) } else { Self::of_device(metadata.rdev()) }
    }

    fn beside(file: &File, metadata: &fs::Metadata) -> io::Result<Self> {
        let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let gone = || io::Error::other(format!("{} is not what was opened any more", path.display()));
        let (directory, name) = path.parent().zip(path.file_name()).ok_or_else(gone)?;
        let place = Self { directory: File::open(directory)?, path: directory.into(), name: name.into() };
        let found = statat(&place.directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| gone())?;
        if (found.st_dev, found.st_ino) != (metadata.dev(), metadata.ino()) {
            return Err(gone());
        }
        Ok(place)
    }

    fn of_device(rdev: u64) -> io::Result<Self> {
        let state = env::var_os("STATE_DIRECTORY").unwrap_or_else(|| STATE.into());
        // Of several, systemd separates them by colons.
        let state = state.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default();
        let path = Path::new(OsStr::from_bytes(state)).join("stamps");
        fs::create_dir_all(&path)?;
        let name = device::key(rdev)?.file_name().into();
        Ok(Self { directory: File::open(&path)?, path, name })
    }

    /// The stamp's file, for messages.
    pub fn stamp_path(&self) -> PathBuf {
        self.path.join(self.with(STAMP))
    }

    /// The stamp, if there is one.
    ///
    /// # Errors
    /// The host's, and that it cannot be understood.
    pub fn read(&self) -> io::Result<Option<Stamp>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match openat(&self.directory, self.with(STAMP), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.failed(&io::Error::from(error))),
        };
        let mut text = Vec::new();
        file.take(MAX_STAMP + 1).read_to_end(&mut text).map_err(|error| self.failed(&error))?;
        if text.len() as u64 > MAX_STAMP {
            return Err(self.failed(&"it is too long"));
        }
        Stamp::parse(&text).map(Some).map_err(|reason| self.failed(&reason))
    }

    /// Replaces the stamp. It is safe when this returns, and at no time is there half a stamp.
    ///
    /// # Errors
    /// The host's.
    pub fn write(&self, stamp: &Stamp) -> io::Result<()> {
        let replaced = stamp.to_text().and_then(|text| self.replace(STAMP, &text, |_| {}));
        replaced.map(drop).map_err(|error| self.failed(&error))
    }

    /// Removes the stamp.
    ///
    /// # Errors
    /// The host's.
    pub fn remove(&self) -> io::Result<()> {
        self.remove_file(STAMP)
    }

    /// Opens the undo journal, or makes it (`new`; one that was there is replaced).
    ///
    /// # Errors
    /// The host's.
    pub fn open_undo(&self, new: bool) -> io::Result<File> {
        let mut flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if new {
            flags |= OFlags::CREATE | OFlags::TRUNC;
        }
        let file = openat(&self.directory, self.with(UNDO), flags, Mode::RUSR | Mode::WUSR)?;
        self.directory.sync_all()?;
        Ok(file.into())
    }

    /// Removes the undo journal, if there is one.
    ///
    /// # Errors
    /// The host's.
    pub fn remove_undo(&self) -> io::Result<()> {
        self.remove_file(UNDO)
    }

    /// The write-intent bitmap's file, for messages.
    pub fn intents_path(&self) -> PathBuf {
        self.path.join(self.with(INTENTS))
    }

    /// Opens the write-intent bitmap, if there is one.
    ///
    /// # Errors
    /// The host's.
    pub fn open_intents(&self) -> io::Result<Option<File>> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        match openat(&self.directory, self.with(INTENTS), flags, Mode::empty()) {
            Ok(file) => Ok(Some(file.into())),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces the write-intent bitmap, as [`Place::write`] does the stamp. `prepare` sees the file before it is safe.
    ///
    /// # Errors
    /// The host's.
    pub fn write_intents(&self, bytes: &[u8], prepare: impl FnOnce(&File)) -> io::Result<File> {
        self.replace(INTENTS, bytes, prepare)
    }

    /// Removes the write-intent bitmap, if there is one.
    ///
    /// # Errors
    /// The host's.
    pub fn remove_intents(&self) -> io::Result<()> {
        self.remove_file(INTENTS)
    }

    fn replace(&self, suffix: &str, bytes: &[u8], prepare: impl FnOnce(&File)) -> io::Result<File> {
        let (name, mut new) = (self.with(suffix), self.with(suffix));
        new.push(NEW);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file = File::from(openat(&self.directory, &new, flags, Mode::RUSR | Mode::WUSR)?);
        prepare(&file);
        let written = file
            .write_all(bytes)
            .and_then(|()| file.sync_all())
            .and_then(|()| Ok(renameat(&self.directory, &new, &self.directory, &name)?))
            .and_then(|()| self.directory.sync_all());
        if let Err(error) = written {
            let _ = unlinkat(&self.directory, &new, AtFlags::empty());
            return Err(error);
        }
        Ok(file)
    }

    fn remove_file(&self, suffix: &str) -> io::Result<()> {
        match unlinkat(&self.directory, self.with(suffix), AtFlags::empty()) {
            Ok(()) => self.directory.sync_all(),
            Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn with(&self, suffix: &str) -> OsString {
        let mut name = self.name.clone();
        name.push(suffix);
        name
    }

    fn failed(&self, reason: &dyn std::fmt::Display) -> io::Error {
        io::Error::other(format!("the stamp {}: {reason}", self.stamp_path().display()))
    }
}
