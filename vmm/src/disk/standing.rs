//! What this side's copies are, beside the other side's: made equal to them, equal since a base, stamped.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use ftlog::{DiskLine, DiskMode, Generation, Position, VmId};

use super::{
    DiskCopy, Disks, Making,
    member::Disk,
    stamp::{Mark, Stamp},
};
use crate::identity::Copy;

impl Disks {
    /// This side's copies of the replicated disks, to be made equal to the other side's, or it to them.
    ///
    /// # Errors
    /// The host's.
    pub fn copies(&self) -> io::Result<Vec<DiskCopy>> {
        let replicated = (0..).zip(&self.disks).filter(|(_, disk)| disk.shape.mode == DiskMode::Replicated);
        replicated.map(|(index, disk)| disk.copy(index)).collect()
    }

    /// The copies are equal to the other side's, which is or has the secondary of this generation, at the virtual time
    /// `time_ns`: from here on they get bases, see [`super::Intents`].
    pub fn begin_bases(&self, vm: VmId, generation: Generation, time_ns: u64) {
        self.disks.iter().for_each(Disk::settle);
        self.bases.begin(vm, generation, time_ns);
    }

    /// The other side is lost, or let go.
    pub fn end_bases(&self) {
        self.bases.end();
    }

    /// The VM has come to `position`, and what it asks of the disks there was handed over.
    pub fn come_to(&self, position: Position, time_ns: u64) {
        let Some(base) = self.bases.due(position, time_ns) else { return };
        // What a stop has left undone is not in the copies.
        if !self.stop.is_thrown() {
            let replicated = self.disks.iter().filter(|disk| disk.shape.mode == DiskMode::Replicated);
            replicated.filter_map(Disk::engine).for_each(|engine| engine.base(base));
        }
    }

    /// Held by whoever compares the copies with the other side's.
    pub fn comparison(&self) -> Arc<Mutex<()>> {
        self.comparison.clone()
    }

    /// This side's copies of the replicated disks, to be made equal to the other side's. `mark` says of which VM and
    /// generation those are, `lines` what is known of them, in the order of the shape.
    ///
    /// # Errors
    /// The host's.
    pub fn makings(&self, mark: &Mark, lines: &[DiskLine]) -> io::Result<Vec<Making>> {
        let lines = lines.iter().copied().chain(std::iter::repeat(DiskLine::default()));
        let disks = (0..).zip(&self.disks).zip(lines);
        let replicated = disks.filter(|((_, disk), _)| disk.shape.mode == DiskMode::Replicated);
        replicated.map(|((index, disk), line)| disk.making(index, mark, line)).collect()
    }

    /// What is known of this side's disks, in the order of their slots.
    ///
    /// # Errors
    /// The host's, and that a stamp cannot be understood.
    pub fn stamps(&self) -> io::Result<Vec<Option<Stamp>>> {
        self.disks.iter().map(Disk::stamp).collect()
    }

    /// The copies that a VM may start from, with what is known of them. A read-only disk is nobody's.
    ///
    /// # Errors
    /// As for [`Disks::stamps`].
    pub fn known(&self) -> io::Result<Vec<Copy>> {
        let written = self.disks.iter().filter(|disk| !disk.shape.readonly);
        written
            .map(|disk| {
                Ok(Copy { path: disk.path.display().to_string(), state: disk.stamp()?.as_ref().into() })
            })
            .collect()
    }

    /// What the other side is told of them, in the order of their slots.
    ///
    /// # Errors
    /// As for [`Disks::stamps`].
    pub fn lines(&self) -> io::Result<Vec<DiskLine>> {
        self.disks.iter().map(Disk::line).collect()
    }

    /// Writes down, safely, how far this side's copies go.
    ///
    /// # Errors
    /// The host's.
    pub fn stamp(&self, mark: &Mark) -> io::Result<()> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.as_ref().is_some_and(|newest| newest.is_after(mark)) {
            // Written meanwhile by another thread.
            return Ok(());
        }
        *newest = Some(mark.clone());
        let live = self.answers.is_live();
        (0..).zip(&self.disks).try_for_each(|(index, disk)| disk.write_stamp(index, mark, live))
    }

    /// The VM has ended in order: once all that it wrote is safe, the copies say so.
    ///
    /// # Errors
    /// The host's.
    pub fn end(&self, mark: &Mark) -> io::Result<()> {
        if !self.wait_idle() {
            // Nobody waits for what the stop has left behind: the copies go on saying what they said.
            return Ok(());
        }
        self.disks.iter().try_for_each(Disk::sync)?;
        self.stamp(mark)
    }
}
