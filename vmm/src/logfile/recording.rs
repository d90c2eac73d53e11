//! Writing the file.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::{Context, ensure};
use devices::Output;
use ftlog::{End, FrameKind, FrameWriter, Generation, Manifest, Message, Position, Shape, StepRef, VmId};
use replay::{Batch, Recorder};

use crate::{host::Outlets, kvm::cpuid, machine::Machine, snapshot, step::Witness};

const BUFFER: usize = 1 << 20;

/// The file of an execution that is going on.
pub struct Recording {
    writer: FrameWriter<BufWriter<File>>,
    recorder: Recorder,
    outlets: Outlets,
}

impl Recording {
    /// Makes the file and writes the machine's state to it.
    pub fn create(
        path: &Path,
        machine: &mut Machine,
        shape: Shape,
        wall_base_ns: u64,
        outlets: Outlets,
    ) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot create the log {}", path.display()))?;
        let mut writer = FrameWriter::new(BufWriter::with_capacity(BUFFER, file));
        let manifest = Manifest {
            vm: VmId([0; 16]),
            generation: Generation(0),
            shape,
            cpu_table: cpuid::digest(),
            position: machine.position(),
            time_ns: machine.time_ns(),
            wall_base_ns,
        };
        snapshot::write(machine, &manifest, &mut |kind, body| {
            writer.write(kind, body)?;
            Ok(())
        })?;
        Ok(Self { writer, recorder: Recorder::after(machine.position()), outlets })
    }

    /// Closes the file with the digests of the machine's state.
    pub fn finish(mut self, machine: &mut Machine) -> anyhow::Result<()> {
        self.write_batch()?;
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

    fn write_batch(&mut self) -> anyhow::Result<()> {
        if let Some(Batch { body, .. }) = self.recorder.take_batch() {
            self.writer.write(FrameKind::Steps, &body).context("cannot write the log")?;
        }
        Ok(())
    }
}

impl Witness for Recording {
    fn sync_point(
        &mut self,
        position: Position,
        step: StepRef<'_>,
        outputs: &mut Vec<Output>,
    ) -> anyhow::Result<()> {
        // The file keeps the registers, so that a divergence can be shown with both sides'.
        self.recorder.record(position, step)?;
        if self.recorder.is_full() {
            self.write_batch()?;
        }
        self.outlets.emit_all(step.events, outputs);
        Ok(())
    }

    fn log_bytes(&self) -> u64 {
        self.writer.bytes() + self.recorder.pending_bytes() as u64
    }
}
