//! Whether this side's disks may become those of a primary's secondary.

use std::{
    sync::TryLockError,
    thread,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use ftlog::{DiskId, DiskLine, DiskMode, Hello};

use super::{
    Disks,
    member::Disk,
    stamp::{Theirs, may_be_overwritten},
};

/// How often disks that are to come to rest are looked at.
const GLANCE: Duration = Duration::from_millis(10);

impl Disks {
    /// Waits until all that earlier VMs asked of the disks here, and earlier sessions of the copies, is over: for
    /// `patience`, as a disk that takes nothing may take nothing for ever.
    ///
    /// # Errors
    /// What is still under way.
    pub fn await_rest(&self, patience: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            match self.are_at_rest() {
                Err(_) if begun.elapsed() < patience => thread::sleep(GLANCE),
                rest => return rest,
            }
        }
    }

    fn are_at_rest(&self) -> anyhow::Result<()> {
        for ((index, disk), slot) in self.disks.iter().enumerate().zip(self.slots()) {
            let path = disk.path.display();
            let idle = self.answers.pending(slot) == 0;
            ensure!(idle, "this side's disk {index} ({path}) is busy with what was asked of it before");
        }
        let written = matches!(self.comparison.try_lock(), Err(TryLockError::WouldBlock));
        ensure!(!written, "this side's disks are busy with what an earlier primary sent");
        Ok(())
    }

    /// Compares what is known of the disks on both sides, whose shapes are the same; gives what is lost because the
    /// operator has said so (`force`).
    ///
    /// # Errors
    /// Why not: a replicated disk's copy has what would be lost, or the shared disk is not the one that the primary has.
    pub fn may_follow(&self, hello: &Hello, force: bool) -> anyhow::Result<Vec<String>> {
        let lines = hello.disks.iter().copied().chain(std::iter::repeat(DiskLine::default()));
        let mut lost = Vec::new();
        for ((index, disk), theirs) in self.disks.iter().enumerate().zip(lines) {
            match disk.shape.mode {
                _ if disk.shape.readonly => {}
                DiskMode::Replicated => lost.extend(may_overwrite(disk, hello, theirs, force)?),
                DiskMode::Shared => must_be_the_same(index, disk, theirs.id)?,
            }
        }
        Ok(lost)
    }
}

fn may_overwrite(disk: &Disk, hello: &Hello, line: DiskLine, force: bool) -> anyhow::Result<Option<String>> {
    let name = &hello.shape.name;
    let theirs = Theirs { vm: hello.vm, name, generation: hello.generation, line };
    let stamp = disk.stamp()?;
    may_be_overwritten(&disk.path, stamp.as_ref(), &theirs, force).map_err(anyhow::Error::msg)
}

fn must_be_the_same(index: usize, disk: &Disk, theirs: Option<DiskId>) -> anyhow::Result<()> {
    let path = disk.path.display();
    match (theirs, disk.line()?.id) {
        (Some(theirs), Some(ours)) => ensure!(
            theirs == ours,
            "the shared disk {index} is {theirs} on the primary, and {path} is {ours}: not the same storage"
        ),
        (Some(_), None) if disk.is_file() => {
            bail!(
                "the shared disk {index} is not {path}: the primary's has a stamp beside it, this one has none"
            )
        }
        _ => tracing::warn!("nothing tells whether {path} is the shared disk {index} of the primary's"),
    }
    Ok(())
}
