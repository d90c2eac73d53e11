//! Disk files for a test's VMs.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use ftlog::DiskMode;

/// Size of a disk: not a multiple of what is compared or sent at once, whatever that is.
pub const DISK_BYTES: u64 = (1 << 20) + 3 * 512;

/// The disk files of a test: one for each host, or one for all. A host is known by its TAP device.
#[derive(Debug)]
pub struct Disks {
    mode: DiskMode,
    directory: PathBuf,
    options: BTreeMap<&'static str, Vec<String>>,
}

impl Disks {
    /// Empty disks for hosts with these TAP devices.
    ///
    /// # Errors
    /// When a file cannot be made.
    pub fn create(directory: &Path, mode: DiskMode, taps: &[&'static str]) -> anyhow::Result<Self> {
        let mut disks = Self { mode, directory: directory.to_owned(), options: BTreeMap::new() };
        for tap in taps {
            let path = disks.file(tap);
            create_empty(&path, DISK_BYTES)?;
            disks.options.insert(tap, vec![option(&path, mode)]);
        }
        Ok(disks)
    }

    /// The file of the host with this TAP device.
    #[must_use]
    pub fn file(&self, tap: &str) -> PathBuf {
        match self.mode {
            DiskMode::Shared => self.directory.join("shared.disk"),
            DiskMode::Replicated => self.directory.join(format!("{tap}.disk")),
        }
    }

    /// The values of `--disk` on that host.
    ///
    /// # Panics
    /// When there is no such host.
    #[must_use]
    pub fn options(&self, tap: &str) -> &[String] {
        self.options.get(tap).expect("a TAP device of the test")
    }
}

/// The value of `--disk` for a file.
#[must_use]
pub fn option(path: &Path, mode: DiskMode) -> String {
    format!("path={},mode={mode}", path.display())
}

/// Makes a file of zeroes that takes no space.
///
/// # Errors
/// Those of the file system.
pub fn create_empty(path: &Path, bytes: u64) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    file.set_len(bytes).with_context(|| format!("cannot extend {}", path.display()))
}

/// Fills a disk with something that is no ledger, as a host might have lying about.
///
/// # Errors
/// Those of the file system.
pub fn fill_with_garbage(path: &Path) -> anyhow::Result<()> {
    let mut garbage = vec![0; fs::metadata(path)?.len() as usize];
    File::open("/dev/urandom")?.read_exact(&mut garbage)?;
    Ok(fs::write(path, garbage)?)
}

/// A small file system of its own, which can be full; it ends with this. Only the calling thread and the processes that it
/// starts see it.
#[derive(Debug)]
pub struct SmallFileSystem {
    path: PathBuf,
}

impl SmallFileSystem {
    /// One of `kib` KiB in a new directory `path`. The calling thread has mounts of its own from here on.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn enter(path: &Path, kib: u32) -> anyhow::Result<Self> {
        fs::create_dir(path)?;
        // SAFETY: a mount namespace of its own, with the working directory that goes with it, changes for this thread
        // neither memory nor open files.
        #[allow(unsafe_code)]
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
            .context("cannot have mounts of its own")?;
        mount(&["--make-rprivate", "/"])?;
        let target = path.to_str().context("the directory's path is no text")?;
        mount(&["-t", "tmpfs", "-o", &format!("size={kib}k"), "none", target])?;
        Ok(Self { path: path.to_owned() })
    }

    /// Takes all space that is left; gives the file that has it, whose removal gives it back.
    ///
    /// # Errors
    /// Those of the file system, other than that it is full.
    pub fn fill(&self) -> anyhow::Result<PathBuf> {
        let path = self.path.join("filler");
        let mut file = File::create(&path)?;
        loop {
            match file.write(&[1; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(path),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        // What cannot be unmounted goes with the namespace; the directory is removed with its parent.
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}

fn mount(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("mount").args(arguments).output().context("cannot run mount")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "mount {arguments:?}: {}", said.trim());
    Ok(())
}
