//! A machine whose execution goes to a file.

use devices::Output;
use ftlog::{Position, StepRef};
use machine::Machine;
use replay::{Witness, logfile::Recording};

use crate::{control::Board, host::Outlets};

/// Records every step, and lets everything out at once.
pub struct Recorded<'a> {
    recording: &'a mut Recording,
    outlets: Outlets,
    board: Board,
}

impl<'a> Recorded<'a> {
    /// A witness that writes to `recording`, and tells `board` if that ends before the VM does.
    pub fn new(recording: &'a mut Recording, outlets: Outlets, board: Board) -> Self {
        Self { recording, outlets, board }
    }
}

impl Witness for Recorded<'_> {
    fn sync_point(
        &mut self,
        position: Position,
        step: StepRef<'_>,
        outputs: &mut Vec<Output>,
    ) -> anyhow::Result<()> {
        let was_whole = self.recording.cut().is_none();
        self.recording.add(position, step)?;
        if let Some(cut) = self.recording.cut().filter(|_| was_whole) {
            self.board.trouble("recording", format!("{cut}; the VM goes on without it"));
        }
        self.outlets.emit_all(step.events, outputs);
        Ok(())
    }

    fn forced(&mut self, machine: &mut Machine) -> anyhow::Result<Option<u64>> {
        self.recording.force(machine).map(Some)
    }

    fn log_bytes(&self) -> u64 {
        self.recording.bytes()
    }
}
