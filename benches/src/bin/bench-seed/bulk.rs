//! What there is to be seeded: bytes that are as any others, in memory or on a disk.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::Context;
use ftlog::DiskMode;
use ftvmm_tests::{disks, way::Wire};
use tempfile::TempDir;

/// Files here are memory: what a disk takes is not to be measured.
pub const MEMORY: &str = "/dev/shm";
/// How long a wire may take for it, s.
const LONGEST_S: u64 = 5;
/// What the guest has beside it, MiB.
const GUEST_MIB: u64 = 64;

/// Where it is.
#[derive(Clone, Copy, Debug)]
pub enum Bulk {
    /// In the guest's memory; the guest is paused while it is sent.
    Memory,
    /// On the primary's copy of a disk, and not on the secondary's; the guest runs while it is sent.
    Disk,
}

/// A file of random bytes.
pub struct Garbage {
    directory: TempDir,
    bytes: u64,
}

impl Bulk {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Memory, Self::Disk];

    /// As the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "a disk's copy",
        }
    }

    /// What primary and secondary have to be told for a VM with it, and a wire like this.
    pub fn options(
        self,
        garbage: &Garbage,
        wire: Wire,
        directory: &Path,
    ) -> anyhow::Result<[Vec<String>; 2]> {
        let (ours, theirs) = (directory.join("primary.bulk"), directory.join("secondary.bulk"));
        let bytes = garbage.take(wire, &ours)?;
        Ok(match self {
            Self::Memory => {
                let mib = bytes.div_ceil(1 << 20) + GUEST_MIB;
                let initrd = ours.display().to_string();
                [["--memory", &mib.to_string(), "--initrd", &initrd].map(str::to_owned).to_vec(), Vec::new()]
            }
            Self::Disk => {
                disks::create_empty(&theirs, bytes)?;
                [ours, theirs]
                    .map(|path| vec!["--disk".to_owned(), disks::option(&path, DiskMode::Replicated)])
            }
        })
    }
}

impl Garbage {
    /// So much of it.
    pub fn new(mib: u32) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("ftvmm-bench-").tempdir_in(MEMORY)?;
        let garbage = Self { directory, bytes: u64::from(mib) << 20 };
        let mut random = File::open("/dev/urandom")?.take(garbage.bytes);
        io::copy(&mut random, &mut File::create(garbage.path())?)
            .context("no room for the bytes to be seeded")?;
        Ok(garbage)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("garbage")
    }

    /// Puts as much of it as this wire is to carry into a file of its own; gives how many bytes that are.
    fn take(&self, wire: Wire, to: &Path) -> anyhow::Result<u64> {
        fs::copy(self.path(), to).context("no room for the bytes to be seeded")?;
        let bytes = self.bytes.min(wire.bytes_per_second.saturating_mul(LONGEST_S)) >> 20 << 20;
        File::options().write(true).open(to)?.set_len(bytes)?;
        Ok(bytes)
    }
}
