//! What `status` asks a controller.

use alloc::vec::Vec;

use ftlog::{Condition, Generation, Health, Position};

use super::{Controller, Phase};
use crate::{commit::GateFull, primary::Pace};

impl<O, W> Controller<O, W> {
    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.halted { Phase::Halted } else { self.role.phase() }
    }

    /// The last generation it holds; before it holds any, the last that there was.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.role.generation()
    }

    /// How the vCPU should run.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.role.pace()
    }

    /// Where a secondary is, or is looked for.
    #[must_use]
    pub fn peer(&self) -> Option<&str> {
        self.search.peer()
    }

    /// The last position recorded.
    #[must_use]
    pub fn recorded(&self) -> Position {
        self.recorded
    }

    /// For how long the guest has run without coming to a sync point, in ns.
    #[must_use]
    pub fn silent_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.spoke_ns)
    }

    /// The last position that the secondary holds.
    #[must_use]
    pub fn received(&self) -> Option<Position> {
        self.role.received()
    }

    /// The last position that the secondary has executed.
    #[must_use]
    pub fn executed(&self) -> Option<Position> {
        self.role.executed()
    }

    /// The age of the oldest record that the secondary has not executed, in ns.
    #[must_use]
    pub fn lag_ns(&self, now_ns: u64) -> u64 {
        self.role.lag_ns(now_ns)
    }

    /// What the secondary has said of itself.
    #[must_use]
    pub fn peer_condition(&self) -> Option<Condition> {
        self.role.condition()
    }

    /// What ails this side's ways out.
    #[must_use]
    pub fn health(&self) -> Health {
        self.outlets.health()
    }

    /// Outputs that wait for the secondary.
    #[must_use]
    pub fn held_outputs(&self) -> u64 {
        self.gate.outputs() as u64
    }

    /// No other side can go on with the VM.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.phase() == Phase::Unprotected
    }

    /// Outputs for which there was no room since this was last asked.
    pub fn take_dropped_outputs(&mut self) -> Vec<GateFull> {
        core::mem::take(&mut self.dropped_outputs)
    }
}
