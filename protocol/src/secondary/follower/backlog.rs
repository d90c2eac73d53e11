//! Log that the machine is not given yet.

use alloc::{collections::VecDeque, vec::Vec};

use ftlog::{Position, StepsFrame};

use super::api::Action;

/// A frame of log.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) steps: StepsFrame,
    /// The length of the frame's body, in bytes.
    pub(super) bytes: u64,
}

impl Batch {
    pub(super) fn through(&self) -> Position {
        let steps = self.steps.steps.len() as u64;
        Position(self.steps.first.0.saturating_add(steps.saturating_sub(1)))
    }
}

/// Two queues: what the role hears of when the machine is made, and what it has heard of and not let through.
#[derive(Debug)]
pub(super) struct Backlog {
    /// What the primary may send beyond what is executed, which is nothing while there is no machine.
    window_bytes: u64,
    deferred: Vec<Batch>,
    deferred_bytes: u64,
    waiting: VecDeque<Batch>,
}

impl Backlog {
    pub(super) fn new(window_bytes: u64) -> Self {
        Self { window_bytes, deferred: Vec::new(), deferred_bytes: 0, waiting: VecDeque::new() }
    }

    /// Keeps a batch until the machine is made; false if the primary should not have sent so much.
    #[must_use]
    pub(super) fn defer(&mut self, batch: Batch) -> bool {
        self.deferred_bytes = self.deferred_bytes.saturating_add(batch.bytes);
        self.deferred.push(batch);
        self.deferred_bytes <= self.window_bytes
    }

    pub(super) fn take_deferred(&mut self) -> Vec<Batch> {
        self.deferred_bytes = 0;
        core::mem::take(&mut self.deferred)
    }

    /// Keeps a batch until [`Backlog::release`].
    pub(super) fn hold(&mut self, batch: Batch) {
        self.waiting.push_back(batch);
    }

    /// The batches up to this position, to be executed.
    pub(super) fn release(&mut self, through: Position) -> impl Iterator<Item = Action> {
        let count = self.waiting.iter().take_while(|batch| batch.through() <= through).count();
        self.waiting.drain(..count).map(|Batch { steps, bytes }| Action::Execute { batch: steps, bytes })
    }
}
