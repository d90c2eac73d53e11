//! A file system of its own that can be frozen: what is written to it waits, for ever if need be.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use crate::disks::create_empty;

const BYTES: u64 = 24 << 20;

/// Mounted as long as it lives.
#[derive(Debug)]
pub struct Freezer {
    point: PathBuf,
}

impl Freezer {
    /// A new file system at `directory/name`. `None`, which is said, where there are no loop devices.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn mount(directory: &Path, name: &str) -> anyhow::Result<Option<Self>> {
        if let Err(error) = File::open("/dev/loop-control") {
            println!("skipped: this test needs loop devices: /dev/loop-control: {error}");
            return Ok(None);
        }
        let (image, point) = (directory.join(format!("{name}.img")), directory.join(name));
        create_empty(&image, BYTES)?;
        fs::create_dir(&point)?;
        run(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&point))?;
        Ok(Some(Self { point }))
    }

    /// Where it is mounted.
    #[must_use]
    pub fn point(&self) -> &Path {
        &self.point
    }

    /// What is written from now on waits until what this gives is dropped.
    ///
    /// # Errors
    /// The kernel's.
    pub fn freeze(&self) -> anyhow::Result<Frozen<'_>> {
        run(Command::new("fsfreeze").arg("--freeze").arg(&self.point))?;
        Ok(Frozen(&self.point))
    }
}

/// A file system that takes nothing. A process that writes there cannot be reaped before this has ended.
#[derive(Debug)]
pub struct Frozen<'a>(&'a Path);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("--unfreeze").arg(self.0).status();
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        // What still has files there keeps it until it ends.
        let _ = Command::new("umount").arg("--lazy").arg(&self.point).status();
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
