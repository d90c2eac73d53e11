//! The primary: runs the VM, and lets out what it says once the secondary holds the log behind it.
//!
//! ```text
//!  Starting ─ claim g+1: won ─► Unprotected ◄──────────────── claim g+1: won ────────┐
//!     │  │                       ▲│     ▲                                            │
//!     │  └ won ► Yielding ─ time ┘│     │                                            │
//!     │                     Ready│      │lost before SeedDone                        │
//!     │                          ▼      │                                            │
//!     │                        Seeding ─┘                                            │
//!     │                          │   └──── lost after SeedDone ───────► Arbitrating ─┤
//!     │                  SeedHeld│                                        ▲          │
//!     │                          ▼                                        │          │
//!     │                      Protected ────────────── lost ───────────────┤          │
//!     │                          │ Detach                                 │          │
//!     │                          ▼                                        │          │
//!     │                      Detaching ────────────── lost ───────────────┘          │
//!     │                          └───────────────────────────────────────────────────┤
//!     └─────────────────────────────────── claim lost ───────────────► Halted ◄──────┘
//!                 anywhere: the arbiter shows a later generation as another's ──┘
//! ```
//!
//! The *armed rule*: from the moment before SeedDone is handed to the channel the secondary may hold a whole state
//! and may go live, whatever we hear or do not hear of it. From then on this side goes on alone only as the holder of
//! the next generation.

use alloc::vec::Vec;

use ftlog::{Condition, Generation, Position};

use crate::arbitration::Arbitration;
use crate::sabotage::{self, Check};
use crate::{Config, LossReason, Recovery};

mod api;
mod claims;
pub mod controller;
mod lag;
mod pace;
mod peer;
mod session;

pub use api::{Batch, Effect, Event, HaltReason, Link, PeerEvent, Phase};
pub use pace::Pace;
use session::Session;

/// The core of a primary. Lives as long as its VM does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Primary {
    config: Config,
    phase: Phase,
    generation: Generation,
    /// How long others get to see that the first generation is ours, in ns, and until when.
    yield_ns: u64,
    yields_until_ns: u64,
    session: Option<Session>,
    last_link: Option<Link>,
    arbitration: Option<Arbitration>,
    detach_wanted: bool,
    /// The VM had better be on the other side.
    unwell: bool,
    pace: Pace,
    held_outputs: u64,
    held_bytes: u64,
    recovery: Option<Recovery>,
}

impl Primary {
    /// A primary for a VM that starts, whose last generation was `previous` (0 for a new one). It asks for the next;
    /// the VM may run once it has had it for `yield_ns`.
    #[must_use]
    pub fn create(config: Config, previous: Generation, yield_ns: u64, effects: &mut Vec<Effect>) -> Self {
        let first = previous.next();
        effects.push(Effect::Claim { generation: first });
        let mut primary = Self::new(config, Phase::Starting, previous);
        primary.arbitration = Some(Arbitration::new(first));
        primary.pace = Pace::Stopped;
        primary.yield_ns = yield_ns;
        primary
    }

    /// A primary for a VM that a secondary took live in `generation`, which it holds.
    #[must_use]
    pub fn after_takeover(config: Config, generation: Generation, effects: &mut Vec<Effect>) -> Self {
        let primary = Self::new(config, Phase::Unprotected, generation);
        effects.extend([
            Effect::EnterGeneration { generation },
            Effect::OpenGate,
            Effect::SetPace(primary.pace),
        ]);
        primary
    }

    fn new(config: Config, phase: Phase, generation: Generation) -> Self {
        Self {
            config,
            phase,
            generation,
            yield_ns: 0,
            yields_until_ns: 0,
            session: None,
            last_link: None,
            arbitration: None,
            detach_wanted: false,
            unwell: false,
            pace: Pace::Full,
            held_outputs: 0,
            held_bytes: 0,
            recovery: None,
        }
    }

    /// Takes an event that happened at `now_ns` and appends what is to be done about it.
    pub fn handle(&mut self, event: Event, now_ns: u64, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Halted {
            return;
        }
        match event {
            Event::Tick => self.tick(now_ns, effects),
            Event::Claimed { generation, outcome } => self.claimed(generation, outcome, now_ns, effects),
            Event::ArbiterShows { generation, holder } => self.shown(generation, holder, effects),
            Event::Peer { link, event: PeerEvent::Ready { window_bytes } } => {
                self.peer_ready(link, window_bytes, now_ns, effects);
            }
            Event::Peer { link, event } => self.peer(link, event, now_ns, effects),
            Event::Recorded(batch) => self.recorded(batch, now_ns, effects),
            Event::Held { outputs, bytes } => {
                self.held_outputs = outputs;
                self.held_bytes = bytes;
            }
            Event::Detach => self.detach(now_ns, effects),
        }
        self.set_pace(now_ns, effects);
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whoever has the last generation may still run the VM, and gets time to see that it is not his any more.
    #[must_use]
    pub fn yields(&self) -> bool {
        self.phase == Phase::Starting && self.yield_ns > 0
    }

    /// The last generation it holds; before it holds any, the last that there was.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether the VM is well off here. A side that is not leaves the first claim to the other, should they lose each
    /// other.
    pub fn set_well(&mut self, well: bool) {
        self.unwell = !well;
    }

    /// The peer was told something for which the role had not asked.
    pub fn spoke(&mut self, now_ns: u64) {
        if let Some(session) = &mut self.session {
            session.detector.sent(now_ns);
        }
    }

    /// How the vCPU should run.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// The connection to a peer, if there is one.
    #[must_use]
    pub fn link(&self) -> Option<Link> {
        self.session.as_ref().map(|session| session.link)
    }

    /// The last position the secondary holds, if there is a seeded one. Outputs up to it have been released.
    #[must_use]
    pub fn received(&self) -> Option<Position> {
        self.session.as_ref().and_then(Session::received)
    }

    /// The last position the secondary has executed, if there is a seeded one.
    #[must_use]
    pub fn executed(&self) -> Option<Position> {
        self.session.as_ref().and_then(Session::executed)
    }

    /// The age of the oldest record that the secondary has not executed, in ns; overestimated by at most a 128th of
    /// the lag limit.
    #[must_use]
    pub fn lag_ns(&self, now_ns: u64) -> u64 {
        self.session.as_ref().map_or(0, |session| session.load(now_ns).age_ns)
    }

    /// Log sent and not executed, in bytes.
    #[must_use]
    pub fn lag_bytes(&self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.load(0).log_bytes)
    }

    /// How the secondary was when it last said so.
    #[must_use]
    pub fn condition(&self) -> Option<Condition> {
        self.session.as_ref().map(Session::condition)
    }

    /// The latest loss of a secondary that could have gone live, and what came of it.
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
        if self.phase == Phase::Yielding && now_ns >= self.yields_until_ns {
            self.enter(now_ns, effects);
        }
        let Some(session) = &mut self.session else { return };
        if let Some(silent_ns) = session.detector.look(now_ns) {
            return self.lost(LossReason::Silent { silent_ns }, now_ns, effects);
        }
        if let Some(reason) = session.standstill(now_ns, &self.config) {
            return self.lost(reason, now_ns, effects);
        }
        if session.detector.heartbeat_due(now_ns) {
            session.detector.sent(now_ns);
            effects.push(Effect::SendHeartbeat { link: session.link });
        }
    }

    fn recorded(&mut self, batch: Batch, now_ns: u64, effects: &mut Vec<Effect>) {
        let through = batch.through;
        if !self.session.as_mut().is_some_and(|session| session.recorded(batch)) {
            return effects.push(Effect::ForgetLog { through });
        }
        self.send_log(now_ns, effects);
        if sabotage::disabled(Check::Ack) {
            effects.push(Effect::Release { through });
        }
    }

    fn send_log(&mut self, now_ns: u64, effects: &mut Vec<Effect>) {
        if let Some(session) = &mut self.session
            && let Some(through) = session.take_sendable()
        {
            session.detector.sent(now_ns);
            effects.push(Effect::SendLog { link: session.link, through });
        }
    }

    fn set_pace(&mut self, now_ns: u64, effects: &mut Vec<Effect>) {
        let wanted = match self.phase {
            Phase::Starting | Phase::Yielding | Phase::Halted => Pace::Stopped,
            Phase::Unprotected => Pace::Full,
            Phase::Seeding | Phase::Protected | Phase::Detaching | Phase::Arbitrating => {
                let mut load = self.session.as_ref().map_or_else(
                    || pace::Load { window_bytes: u64::MAX, ..pace::Load::default() },
                    |session| session.load(now_ns),
                );
                load.held_outputs = self.held_outputs;
                load.held_bytes = self.held_bytes;
                pace::next(self.pace, &load, &self.config)
            }
        };
        if wanted != self.pace {
            self.pace = wanted;
            effects.push(Effect::SetPace(wanted));
        }
    }
}

#[cfg(test)]
mod tests;
