//! What `status` tells of a machine that nobody protects.

use std::sync::Arc;

use devices::Output;
use ftlog::{Position, StepRef};
use machine::Machine;
use replay::Witness;

use crate::{
    control::{Board, Role, State, Status},
    host::tap::Tap,
};

/// How often it is written, in virtual time, ns.
const REPORT_NS: u64 = 1_000_000;

/// A witness whose machine's state can be asked for.
pub struct Observed<'a, W> {
    witness: &'a mut W,
    board: Board,
    tap: Option<Arc<Tap>>,
    next_ns: u64,
}

impl<'a, W: Witness> Observed<'a, W> {
    /// Has `board` tell how the machine of `witness` does, whose network is `tap`.
    pub fn new(witness: &'a mut W, board: Board, tap: Option<Arc<Tap>>) -> Self {
        board.update(|status| {
            (status.role, status.state) = (Role::Alone, State::Unprotected);
            status.pace = "full".to_owned();
        });
        board.set_handler(Some(Box::new(|pending| {
            pending.refuse("nobody protects this VM and nobody can: it was not started with `ftvmm primary`");
        })));
        Self { witness, board, tap, next_ns: 0 }
    }

    fn tell(&self, machine: &Machine, status: &mut Status) {
        let counts = machine.tally().now();
        status.position = machine.position().0;
        status.guest_time_ms = machine.time_ns() as f64 / 1e6;
        status.log_bytes = self.witness.log_bytes();
        (status.exits, status.inputs, status.resets) = (counts.exits, counts.events, counts.resets);
    }
}

impl<W: Witness> Witness for Observed<'_, W> {
    fn before_wait(&mut self) -> anyhow::Result<()> {
        self.witness.before_wait()
    }

    fn sync_point(
        &mut self,
        position: Position,
        step: StepRef<'_>,
        outputs: &mut Vec<Output>,
    ) -> anyhow::Result<()> {
        for output in &*outputs {
            if let Output::Reset(cause) = output {
                self.board.notice_once(cause.to_string());
            }
        }
        self.witness.sync_point(position, step, outputs)
    }

    fn interrupted(&mut self) -> anyhow::Result<bool> {
        self.witness.interrupted()
    }

    fn forced(&mut self, machine: &mut Machine) -> anyhow::Result<Option<u64>> {
        self.witness.forced(machine)
    }

    fn between(&mut self, machine: &mut Machine) -> anyhow::Result<()> {
        if machine.time_ns() >= self.next_ns {
            self.next_ns = machine.time_ns() + REPORT_NS;
            self.board.update(|status| self.tell(machine, status));
            self.board.tell_devices(self.tap.as_deref(), &machine.tally().now());
        }
        self.witness.between(machine)
    }

    fn log_bytes(&self) -> u64 {
        self.witness.log_bytes()
    }
}
