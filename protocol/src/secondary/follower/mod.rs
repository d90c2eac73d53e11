//! A secondary's side of one connection, and what follows from its loss: what each frame means when, what waits, what
//! the machine is given when, and how it ends.
//!
//! ```text
//!  Receiving ── SeedDone ──► Copying ── copied ──► Loading ── loaded ──► Loaded
//!   seed, blocks              log waits; all else is heard      log goes to the role, and what the role
//!                             at once (also that the primary gives up)     lets through to the machine
//! ```
//!
//! A machine that diverged stands. The primary is asked for its registers and nothing else is answered, above all no
//! log acknowledged, until they come, or the primary goes, or [`EXPLANATION_NS`] have passed; then the VM is discarded.
//!
//! A guest that has switched itself off has said its last words, which the primary may not have released: this side
//! ends when it hears that they have left, and takes over like any other if it hears no more.

use alloc::{boxed::Box, format, vec::Vec};

use ftlog::{ArrivingDelta, Condition, Diverged, FrameKind, Generation, Message, Position, RegisterFile};

use super::{Effect, Event, Phase, Secondary};
use crate::sabotage::{self, Check};
use crate::{Config, LossReason, Stall};

mod api;
mod backlog;
mod frames;
mod role;
#[cfg(test)]
mod tests;

pub use api::{Action, Input, Sample, Work};
use backlog::{Backlog, Deferred};

/// How long a machine that diverged waits for the primary's registers, in ns.
pub const EXPLANATION_NS: u64 = 500_000_000;

/// How long the copies of the disks may take no block while some wait, in ns: longer than a slow disk takes to make a
/// few MiB safe.
const COPIES_PATIENCE_NS: u64 = 30_000_000_000;

/// How far the seed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    Receiving,
    Copying,
    Loading,
    Loaded,
}

/// A divergence that waits for the primary's registers.
#[derive(Debug, Clone, Copy)]
struct Explaining {
    position: Position,
    until_ns: u64,
}

/// How the primary introduced itself, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub struct Introduction {
    /// Its generation.
    pub generation: Generation,
    /// Its lease on shared disks, in ns.
    pub lease_ns: u64,
    /// There are copies of disks to be made before the seed is whole.
    pub has_copies: bool,
    /// The guest's RAM.
    pub memory_mib: u32,
}

/// What a secondary decides.
#[derive(Debug)]
pub struct Follower {
    core: Secondary,
    vcpu: Stall,
    copies: Stall,
    condition: Condition,
    stage: Stage,
    has_copies: bool,
    backlog: Backlog,
    arriving: ArrivingDelta,
    /// The primary has asked what memory holds, and was not told yet.
    asked: bool,
    explaining: Option<Explaining>,
    loss: Option<LossReason>,
    /// Where the guest has switched itself off.
    off: Option<Position>,
    released: Position,
    primary_ended: bool,
    primary_position: Position,
    lease_ns: u64,
    executed_time_ns: u64,
    log_bytes: u64,
    over: bool,
}

impl Follower {
    /// A follower of a primary to which Welcome was said with this window.
    #[must_use]
    pub fn new(config: &Config, introduction: Introduction, window_bytes: u64, now_ns: u64) -> Self {
        let Introduction { generation, lease_ns, has_copies, memory_mib } = introduction;
        Self {
            core: Secondary::new(config, generation, window_bytes, now_ns),
            vcpu: Stall::new(config, now_ns),
            copies: Stall::new(config, now_ns),
            condition: Condition::default(),
            stage: Stage::Receiving,
            has_copies,
            backlog: Backlog::new(window_bytes),
            arriving: ArrivingDelta::new(ArrivingDelta::most_bytes(memory_mib)),
            asked: false,
            explaining: None,
            loss: None,
            off: None,
            released: Position(0),
            primary_ended: false,
            primary_position: Position(0),
            lease_ns,
            executed_time_ns: 0,
            log_bytes: 0,
            over: false,
        }
    }

    /// Takes what happened at `now_ns` and appends what is to be done about it.
    pub fn handle(&mut self, input: Input, now_ns: u64, actions: &mut Vec<Action>) {
        if self.over {
            return;
        }
        match input {
            Input::Tick => self.tick(now_ns, actions),
            Input::Seen(sample) => self.seen(&sample, now_ns, actions),
            Input::Bytes => self.tell(Event::Heard, now_ns, actions),
            Input::Frame(frame) => self.hear(frame, now_ns, actions),
            Input::Lost(reason) => self.lost(reason, now_ns, actions),
            Input::Copied if self.stage == Stage::Copying => self.load(actions),
            Input::Copied => {}
            Input::Loaded { position } => self.loaded(position, now_ns, actions),
            Input::Executed { through, bytes, time_ns } => {
                self.executed_time_ns = time_ns;
                self.tell(Event::Executed { through, bytes }, now_ns, actions);
            }
            Input::Told => self.asked = false,
            Input::PoweredOff { position } => {
                self.off = Some(position);
                self.end_if_all_is_said(actions);
            }
            Input::Diverged(diverged) => self.diverged(&diverged, now_ns, actions),
            Input::Failed { position, reason } => {
                self.tell(Event::Failed { position, reason }, now_ns, actions);
            }
            Input::Unusable { reason } => self.tell(Event::Unusable { reason }, now_ns, actions),
            Input::Claimed { generation, outcome } => {
                self.tell(Event::Claimed { generation, outcome }, now_ns, actions);
            }
        }
    }

    /// What it is to the primary and the arbiter.
    #[must_use]
    pub fn role(&self) -> &Secondary {
        &self.core
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.core.phase()
    }

    /// How this side is, as the primary is told.
    #[must_use]
    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// Virtual time of what is executed, in ns.
    #[must_use]
    pub fn executed_time_ns(&self) -> u64 {
        self.executed_time_ns
    }

    /// Log received since the seed, in bytes of frame bodies.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// How many positions the primary's guest is ahead.
    #[must_use]
    pub fn lag_records(&self) -> u64 {
        let known = self.primary_position.max(self.core.received_through());
        known.0.saturating_sub(self.core.executed_through().0)
    }

    fn is_connected(&self) -> bool {
        matches!(self.core.phase(), Phase::Seeding | Phase::Following)
    }

    fn tick(&mut self, now_ns: u64, actions: &mut Vec<Action>) {
        match self.explaining {
            None => self.tell(Event::Tick, now_ns, actions),
            Some(explaining) if now_ns >= explaining.until_ns => self.explained(None, now_ns, actions),
            Some(_) => {}
        }
    }

    fn seen(&mut self, sample: &Sample, now_ns: u64, actions: &mut Vec<Action>) {
        let Sample { vcpu, copies, health } = *sample;
        self.vcpu.look(vcpu.busy, vcpu.done, now_ns);
        self.copies.look(copies.busy, copies.done, now_ns);
        self.condition = Condition { stalled_ns: self.vcpu.stalled_ns(), health };
        self.core.set_well(health.is_well());
        if copies.busy {
            // It is this side that does not listen.
            self.tell(Event::Heard, now_ns, actions);
        }
        let stalled_ns = self.copies.stalled_ns();
        if stalled_ns > COPIES_PATIENCE_NS {
            let seconds = stalled_ns / 1_000_000_000;
            let reason = format!("this side's disks have taken no block for {seconds} s");
            self.tell(Event::Unusable { reason }, now_ns, actions);
        }
    }

    fn load(&mut self, actions: &mut Vec<Action>) {
        self.stage = Stage::Loading;
        actions.push(Action::Load);
    }

    /// The machine is made: what was deferred is heard now.
    fn loaded(&mut self, position: Position, now_ns: u64, actions: &mut Vec<Action>) {
        if self.stage != Stage::Loading || self.core.phase() != Phase::Seeding {
            return;
        }
        self.stage = Stage::Loaded;
        self.tell(Event::SeedHeld { position }, now_ns, actions);
        for deferred in self.backlog.take_deferred() {
            match deferred {
                Deferred::Log(batch) => {
                    let event = self.take_in(batch);
                    self.tell(event, now_ns, actions);
                }
                Deferred::Question(key) => actions.push(Action::TellPages { key }),
            }
        }
    }

    fn lost(&mut self, reason: LossReason, now_ns: u64, actions: &mut Vec<Action>) {
        if self.explaining.is_some() {
            return self.explained(None, now_ns, actions);
        }
        self.tell(Event::Lost(reason), now_ns, actions);
    }

    fn diverged(&mut self, diverged: &Diverged, now_ns: u64, actions: &mut Vec<Action>) {
        if sabotage::disabled(Check::Divergence) {
            return;
        }
        let until_ns = now_ns.saturating_add(EXPLANATION_NS);
        self.explaining = Some(Explaining { position: diverged.position, until_ns });
        match diverged.encode() {
            Ok(body) if self.is_connected() => {
                actions.push(Action::Send { kind: FrameKind::Diverged, body });
            }
            _ => self.explained(None, now_ns, actions),
        }
    }

    fn explained(&mut self, registers: Option<Box<RegisterFile>>, now_ns: u64, actions: &mut Vec<Action>) {
        let Some(Explaining { position, .. }) = self.explaining.take() else { return };
        actions.push(Action::Explained { registers });
        self.tell(Event::Diverged { position }, now_ns, actions);
    }

    fn end_if_all_is_said(&mut self, actions: &mut Vec<Action>) {
        if self.off.is_some_and(|off| self.primary_ended || self.released >= off) {
            self.over = true;
            actions.push(Action::End);
        }
    }
}
