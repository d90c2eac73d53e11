//! The secondary: holds the log, executes it a moment behind, and becomes the VM if the primary is lost.
//!
//! ```text
//!  Seeding ── SeedHeld ──► Following ── lost ──► Draining ── all executed ──► Arbitrating ── claim won ──► Live
//!     │ lost                  │ log broken,         │ diverged                   │ claim lost
//!     ▼                       ▼ diverged, detached  ▼                            ▼
//!  Discarded ◄────────────────┴─────────────────────┴────────────────────────────┘
//! ```
//!
//! It drains before it claims: a log that turns out not to be executable must not cost a living primary the
//! generation. One core serves one connection; a listener makes a new one for the next primary.

use alloc::vec::Vec;

use ftlog::{Condition, Generation, Position};

use crate::arbitration::Arbitration;
use crate::detector::Detector;
use crate::sabotage::{self, Check};
use crate::{Config, LossReason, Recovery};

mod api;
pub mod follower;
mod log;
mod takeover;

pub use api::{DiscardReason, Effect, Event, Phase};
use log::Log;

/// The core of a secondary, for one connection and what follows from its loss.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Secondary {
    stall_ns: u64,
    /// The VM had better be on the other side.
    unwell: bool,
    phase: Phase,
    generation: Generation,
    detector: Detector,
    log: Log,
    /// What the primary says has left.
    released: Position,
    arbitration: Option<Arbitration>,
    recovery: Option<Recovery>,
}

impl Secondary {
    /// A secondary for a primary in `generation`, to which it has said Welcome with this window.
    #[must_use]
    pub fn new(config: &Config, generation: Generation, window_bytes: u64, now_ns: u64) -> Self {
        Self {
            stall_ns: config.stall_ns(),
            unwell: false,
            phase: Phase::Seeding,
            generation,
            detector: Detector::new(config, now_ns),
            log: Log::new(window_bytes),
            released: Position(0),
            arbitration: None,
            recovery: None,
        }
    }

    /// Takes an event that happened at `now_ns` and appends what is to be done about it.
    pub fn handle(&mut self, event: Event, now_ns: u64, effects: &mut Vec<Effect>) {
        let connected = matches!(self.phase, Phase::Seeding | Phase::Following);
        match event {
            Event::Tick => self.tick(now_ns, effects),
            Event::Claimed { generation, outcome } => self.claimed(generation, outcome, now_ns, effects),
            Event::Executed { through, bytes } => self.executed(through, bytes, now_ns, effects),
            Event::Diverged { .. } if sabotage::disabled(Check::Divergence) => {}
            Event::Diverged { position } => self.broken(DiscardReason::Diverged { position }, effects),
            Event::Failed { position, reason } => {
                self.broken(DiscardReason::Failed { position, reason }, effects);
            }
            Event::Unusable { reason } => self.broken(DiscardReason::Unusable { reason }, effects),
            // What was still queued from a connection that is closed changes nothing.
            _ if !connected => {}
            Event::Heard => self.detector.heard(now_ns),
            Event::SeedHeld { position } => self.seed_held(position, now_ns, effects),
            Event::Received { first, through, bytes } => {
                self.received(first, through, bytes, now_ns, effects);
            }
            Event::Heartbeat { released, condition } => {
                self.heartbeat(released, condition, now_ns, effects);
            }
            Event::Detached => self.discard(DiscardReason::Detached, effects),
            Event::Lost(reason) => self.lost(reason, now_ns, effects),
        }
    }

    /// Whether the VM would be well off here. A side where it is not leaves the first claim to the other.
    pub fn set_well(&mut self, well: bool) {
        self.unwell = !well;
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The generation of its primary; its own once it is live.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The last position whose log is here.
    #[must_use]
    pub fn received_through(&self) -> Position {
        self.log.received
    }

    /// The last position executed.
    #[must_use]
    pub fn executed_through(&self) -> Position {
        self.log.executed
    }

    /// Log received and not executed, in bytes.
    #[must_use]
    pub fn lag_bytes(&self) -> u64 {
        self.log.lag_bytes()
    }

    /// The loss of the primary, and what came of it.
    #[must_use]
    pub fn recovery(&self) -> Option<Recovery> {
        self.recovery
    }

    fn tick(&mut self, now_ns: u64, effects: &mut Vec<Effect>) {
        if let Some(arbitration) = &mut self.arbitration
            && arbitration.ask_again(now_ns)
        {
            effects.push(Effect::Claim { generation: arbitration.generation() });
        }
        if !matches!(self.phase, Phase::Seeding | Phase::Following) {
            return;
        }
        if let Some(silent_ns) = self.detector.look(now_ns) {
            return self.lost(LossReason::Silent { silent_ns }, now_ns, effects);
        }
        if self.detector.heartbeat_due(now_ns) {
            self.say(now_ns, effects);
        }
    }

    /// Says how far we are, which is all that a heartbeat says too.
    fn say(&mut self, now_ns: u64, effects: &mut Vec<Effect>) {
        self.detector.sent(now_ns);
        if self.phase == Phase::Seeding {
            return effects.push(Effect::SendHeartbeat);
        }
        let not_here = sabotage::disabled(Check::Receipt);
        effects.push(Effect::SendAck {
            received: if not_here { self.log.received.next() } else { self.log.received },
            executed: self.log.executed,
            executed_bytes: self.log.executed_bytes,
        });
    }

    fn seed_held(&mut self, position: Position, now_ns: u64, effects: &mut Vec<Effect>) {
        if self.phase != Phase::Seeding {
            return self.discard(DiscardReason::OutOfPlace { phase: self.phase }, effects);
        }
        self.detector.heard(now_ns);
        self.detector.sent(now_ns);
        self.phase = Phase::Following;
        self.log.begin(position);
        if self.released_is_held(effects) {
            effects.push(Effect::SendSeedHeld { position });
        }
    }

    /// The other half of the commit gate's check: what has left must be in the state or the log that we hold. Of a seed
    /// that can be told only when it is whole.
    fn released_is_held(&mut self, effects: &mut Vec<Effect>) -> bool {
        let (released, received) = (self.released, self.log.received);
        let held = released <= received || sabotage::disabled(Check::Released);
        if !held {
            self.discard(DiscardReason::ReleasedAhead { released, received }, effects);
        }
        held
    }

    fn received(
        &mut self,
        first: Position,
        through: Position,
        bytes: u64,
        now_ns: u64,
        effects: &mut Vec<Effect>,
    ) {
        if self.phase != Phase::Following {
            return self.discard(DiscardReason::OutOfPlace { phase: self.phase }, effects);
        }
        if let Err(reason) = self.log.take(first, through, bytes) {
            return self.discard(reason, effects);
        }
        self.detector.heard(now_ns);
        // Acknowledged first: the primary's outputs wait for that, and nobody waits for the execution.
        self.say(now_ns, effects);
        effects.push(Effect::Replay { through });
    }

    fn executed(&mut self, through: Position, bytes: u64, now_ns: u64, effects: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Following | Phase::Draining) {
            return;
        }
        match self.log.execute(through, bytes) {
            Ok(()) => self.claim_if_drained(now_ns, effects),
            Err(reason) => self.discard(reason, effects),
        }
    }

    fn heartbeat(
        &mut self,
        released: Position,
        condition: Condition,
        now_ns: u64,
        effects: &mut Vec<Effect>,
    ) {
        self.detector.heard(now_ns);
        self.released = self.released.max(released);
        if self.phase != Phase::Following || !self.released_is_held(effects) {
            return;
        }
        // Its guest stands, and would for as long as we listen. Whether it is over with it, the arbiter decides.
        let stalled_ns = condition.stalled_ns;
        if stalled_ns > self.stall_ns && !sabotage::disabled(Check::Stall) {
            self.lost(LossReason::Stalled { stalled_ns }, now_ns, effects);
        }
    }

    /// The VM is not what the primary's is. Once live there is no log that it could differ from.
    fn broken(&mut self, reason: DiscardReason, effects: &mut Vec<Effect>) {
        if self.phase != Phase::Live {
            self.discard(reason, effects);
        }
    }

    fn discard(&mut self, reason: DiscardReason, effects: &mut Vec<Effect>) {
        if self.phase != Phase::Discarded {
            self.phase = Phase::Discarded;
            self.arbitration = None;
            effects.push(Effect::Discard { reason });
        }
    }
}

#[cfg(test)]
mod tests;
