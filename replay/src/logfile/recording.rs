//! Writing the file.

use std::{
    fs::{self, File, FileType, OpenOptions},
    io::{BufWriter, Write},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

use anyhow::{Context, bail, ensure};
use ftlog::{End, FrameKind, FrameWriter, Generation, Manifest, Message, Position, Shape, StepRef, VmId};
use machine::{Machine, kvm::cpuid, snapshot};

use crate::{Batch, Deltas, Recorder};

const BUFFER: usize = 1 << 20;

/// The file of an execution that is going on.
pub struct Recording {
    writer: FrameWriter<BufWriter<File>>,
    recorder: Recorder,
    deltas: Deltas,
    /// Why it ended before the VM did.
    cut: Option<String>,
}

impl Recording {
    /// Makes the file and writes the machine's state to it. A file that is there already stays as it is, unless `force`
    /// says that it goes.
    pub fn create(
        path: &Path,
        force: bool,
        machine: &mut Machine,
        shape: Shape,
        wall_base_ns: u64,
    ) -> anyhow::Result<Self> {
        let file = make_file(path, force)?;
        let mut writer = FrameWriter::new(BufWriter::with_capacity(BUFFER, file));
        let cpu_table = cpuid::digest(&shape.cpu);
        let (vm, generation) = (VmId([0; 16]), Generation(0));
        let manifest = Manifest { vm, generation, shape, cpu_table, wall_base_ns, digest_key: 0 };
        snapshot::write(machine, &manifest, |kind, body| {
            writer.write(kind, body)?;
            anyhow::Ok(())
        })?;
        let recorder = Recorder::after(machine.position());
        Ok(Self { writer, recorder, deltas: Deltas::for_good(), cut: None })
    }

    /// Closes the file with the digests of the machine's state.
    pub fn finish(mut self, machine: &mut Machine) -> anyhow::Result<()> {
        self.write_batch();
        if let Some(cut) = self.cut {
            bail!("the recording is not whole and will not be accepted: {cut}");
        }
        ensure!(
            machine.is_at_rest()?,
            "the guest came to no sync point after {}: the log has no closing record and will not be accepted",
            machine.position()
        );
        let end =
            End { position: machine.position(), time_ns: machine.time_ns(), digests: machine.digests()? };
        self.writer.write(FrameKind::End, &end.encode()?)?;
        let mut file = self.writer.into_inner();
        file.flush().and_then(|()| file.get_ref().sync_all()).context("cannot write the log")
    }

    /// Adds the step at `position`, unless the recording was [cut](Recording::cut) short. The file keeps the registers,
    /// so that a divergence can be shown with both sides'.
    ///
    /// # Errors
    /// The step is none that a log can hold, or KVM does not say what has changed.
    pub fn add(&mut self, position: Position, step: StepRef<'_>) -> anyhow::Result<()> {
        if self.cut.is_none() {
            self.recorder.record(position, step)?;
            self.deltas.come_to_position(step.time_ns)?;
            if self.recorder.is_full() {
                self.write_batch();
            }
        }
        Ok(())
    }

    /// Adds what leads to where the guest was interrupted, which is to be its next position; gives the digest.
    ///
    /// # Errors
    /// KVM's.
    pub fn force(&mut self, machine: &mut Machine) -> anyhow::Result<u64> {
        if self.cut.is_some() {
            return Ok(0);
        }
        if !self.deltas.is_kept() {
            self.deltas.begin(&machine.source())?;
        }
        let delta = self.deltas.take_all(machine)?.context("there is no account of what has changed")?;
        // Its step is to be the first of a frame.
        self.write_batch();
        let digest = delta.digest();
        for (kind, body) in delta.compress().frames() {
            self.write(kind, &body, machine.position());
        }
        Ok(digest)
    }

    /// Why the recording ended before the VM did, if it did.
    #[must_use]
    pub fn cut(&self) -> Option<&str> {
        self.cut.as_deref()
    }

    /// Bytes of log so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.writer.bytes() + self.recorder.pending_bytes() as u64
    }

    /// A file that takes no more ends the recording, not the VM.
    fn write_batch(&mut self) {
        if let Some(Batch { body, last, .. }) = self.recorder.take_batch() {
            self.write(FrameKind::Steps, &body, last);
        }
    }

    fn write(&mut self, kind: FrameKind, body: &[u8], last: Position) {
        if self.cut.is_some() {
            return;
        }
        if let Err(error) = self.writer.write(kind, body) {
            self.cut = Some(format!("it could not be written after {last}: {error}"));
        }
    }
}

/// A new file, for its owner's eyes only: it will hold all of the guest's memory and all that the guest reads.
fn make_file(path: &Path, force: bool) -> anyhow::Result<File> {
    let kind = fs::symlink_metadata(path).map(|there| there.file_type());
    let exists = kind.as_ref().is_ok_and(FileType::is_file);
    if exists && force {
        fs::remove_file(path).with_context(|| format!("cannot replace {}", path.display()))?;
    }
    ensure!(!exists || force, "the log {} exists already; --force replaces it", path.display());
    // Such as /dev/null. It holds nothing that could be lost.
    let is_device = kind.is_ok_and(|kind| kind.is_char_device());
    let file = OpenOptions::new().write(true).create_new(!is_device).mode(0o600).open(path);
    file.with_context(|| format!("cannot create the log {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_log_is_its_owners_and_never_takes_the_place_of_a_file_unless_told_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        make_file(&path, false).unwrap().write_all(b"precious").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let other_name = directory.path().join("other name");
        fs::hard_link(&path, &other_name).unwrap();

        let refused = format!("{:#}", make_file(&path, false).unwrap_err());
        assert!(refused.contains("exists already") && refused.contains("--force"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");

        make_file(&path, true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert_eq!(fs::read(&other_name).unwrap(), b"precious", "what it was is not written to");
    }

    #[test]
    fn what_is_no_file_is_not_replaced_by_a_log() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for path in [directory.path(), &link] {
            for force in [false, true] {
                make_file(path, force).unwrap_err();
            }
        }
        assert!(!target.exists());
        make_file(Path::new("/dev/null"), false).unwrap();
    }
}
