//! Log that the machine is not given yet.

use alloc::{collections::VecDeque, vec::Vec};

use ftlog::{Delta, Position, StepsFrame};

use super::api::Action;

/// A frame of log.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) steps: StepsFrame,
    /// What leads to the first of them, if that is a forced position.
    pub(super) delta: Option<Delta>,
    /// The length of the frames' bodies, in bytes.
    pub(super) bytes: u64,
}

impl Batch {
    pub(super) fn through(&self) -> Position {
        let steps = self.steps.steps.len() as u64;
        Position(self.steps.first.0.saturating_add(steps.saturating_sub(1)))
    }
}

/// What was heard before there was a machine to be given it.
#[derive(Debug)]
pub(super) enum Deferred {
    Log(Batch),
    /// What memory holds is asked, with this key.
    Question(u64),
}

/// Two queues: what the role hears of when the machine is made, and what it has heard of and not let through.
#[derive(Debug)]
pub(super) struct Backlog {
    /// What the primary may send beyond what is executed, which is nothing while there is no machine.
    window_bytes: u64,
    deferred: Vec<Deferred>,
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
        let is_alone = self.deferred_bytes == 0;
        self.deferred_bytes = self.deferred_bytes.saturating_add(batch.bytes);
        self.deferred.push(Deferred::Log(batch));
        is_alone || self.deferred_bytes <= self.window_bytes
    }

    /// Keeps a question for when all log that came before it is executed.
    pub(super) fn defer_question(&mut self, key: u64) {
        self.deferred.push(Deferred::Question(key));
    }

    pub(super) fn take_deferred(&mut self) -> Vec<Deferred> {
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
        let execute = |Batch { steps, delta, bytes }| Action::Execute { batch: steps, delta, bytes };
        self.waiting.drain(..count).map(execute)
    }
}
