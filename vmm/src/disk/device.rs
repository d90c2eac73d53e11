//! What is behind a name: the same data can be reached by many.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use rustix::fs::{major, minor};
use xxhash_rust::xxh3::xxh3_128;

/// Data of the host's that a disk may be, by whatever name it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A regular file: file system and inode.
    File(u64, u64),
    /// A block device.
    Device(u64),
}

/// All that a name gives access to: a file or block device, and the file behind a loop device.
///
/// # Errors
/// The host's.
pub fn sources(path: &Path) -> io::Result<Vec<Source>> {
    let metadata = fs::metadata(path)?;
    if !metadata.file_type().is_block_device() {
        return Ok(vec![Source::File(metadata.dev(), metadata.ino())]);
    }
    let behind = loop_file(metadata.rdev()).and_then(|path| fs::metadata(path).ok());
    let behind = behind.map(|metadata| Source::File(metadata.dev(), metadata.ino()));
    Ok([Source::Device(metadata.rdev())].into_iter().chain(behind).collect())
}

/// The file behind a loop device, or behind the loop device of which this is a partition.
pub fn loop_file(rdev: u64) -> Option<PathBuf> {
    let device = sysfs(rdev);
    let read = |path: PathBuf| fs::read_to_string(path).ok();
    let named = read(device.join("loop/backing_file")).or_else(|| read(device.join("../loop/backing_file")));
    named.map(|path| path.trim_end_matches('\n').into())
}

/// The loop device that is made of this regular file, as far as can be told: the host may show it under a name that
/// leads elsewhere from here.
pub fn loop_over(file: &File) -> Option<String> {
    let ours = file.metadata().ok()?;
    let devices = fs::read_dir("/sys/block").ok()?.flatten();
    let mut names = devices.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.find(|name| {
        let path = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file"));
        let theirs = path.ok().and_then(|path| fs::metadata(path.trim_end_matches('\n')).ok());
        theirs.is_some_and(|theirs| (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()))
    })
}

/// What identifies a block device, however it is called today.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    text: String,
    /// Every host that reaches the device sees this key.
    global: bool,
}

impl Key {
    /// A name for what is known of the device.
    pub fn file_name(&self) -> String {
        format!("{:032x}", xxh3_128(self.text.as_bytes()))
    }

    /// The device's number, the same on every host; none when only this one knows the key.
    pub fn number(&self) -> Option<[u8; 16]> {
        self.global.then(|| xxh3_128(self.text.as_bytes()).to_be_bytes())
    }
}

/// The key of a block device: its UUID as a mapped device, its World Wide Identifier or serial number, the file behind
/// it, or else the place in this host where it is.
///
/// # Errors
/// The host's.
pub fn key(rdev: u64) -> io::Result<Key> {
    let device = fs::canonicalize(sysfs(rdev))?;
    let partition = read(&device, "partition");
    let whole = if partition.is_some() { device.join("..") } else { device.clone() };
    let suffix = partition.map_or_else(String::new, |number| format!(" part {number}"));
    let known = ["dm/uuid", "wwid", "device/wwid", "serial", "device/serial"]
        .into_iter()
        .find_map(|name| read(&whole, name).map(|value| format!("{name} {value}")));
    if let Some(text) = known {
        return Ok(Key { text: text + &suffix, global: true });
    }
    let text = match loop_file(rdev) {
        Some(file) => {
            let offset = read(&whole, "loop/offset").unwrap_or_default();
            format!("loop {offset} {}", file.display())
        }
        None => format!("place {}", whole.display()),
    };
    Ok(Key { text: text + &suffix, global: false })
}

fn read(device: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(device.join(name)).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn sysfs(rdev: u64) -> PathBuf {
    format!("/sys/dev/block/{}:{}", major(rdev), minor(rdev)).into()
}
