//! What a primary's link thread does, without doing it: the [role](super::Primary) and all around it that decides.
//!
//! ```text
//!              ┌─ search    where a secondary is looked for, and which attempt is still wanted
//!  events ────►├─ operator  what a command may do now, and what it waits for
//!              ├─ role      seeding, acknowledgement, pace, loss, arbitration  ──► effects, in order
//!              ├─ output    the gates, and the lease on shared disks
//!              ├─ looks     whether the VM was started elsewhere
//!              └─ outlets   whether the VM had better be on the secondary
//! ```
//!
//! The thread reports what it hears in the order in which it hears it, and carries out the effects in the order given.

use alloc::{format, string::String, vec::Vec};

use ftlog::{Generation, Health, Position};

use super::{Event as RoleEvent, Phase, Primary};
use crate::{
    Config, LossReason, Stall,
    commit::{Gate, GateFull, Limits},
};

mod commands;
mod divergences;
mod effects;
mod events;
mod lease;
mod looks;
mod news;
mod operator;
mod outlets;
mod output;
mod pairing;
mod role;
mod search;
mod view;
mod watching;

pub use effects::{Answer, Effect, Fence, Halt, Message, Notice};
pub use events::{Asked, Attempt, Command, Event, Glance, Said, Sight, Stretch};
pub use outlets::OnTrouble;

use divergences::Divergences;
use lease::Lease;
use looks::Looks;
use news::Told;
use operator::Operator;
use outlets::Outlets;
use search::Search;

/// How long the guest's last outputs may wait for their acknowledgement once it has switched off, ns.
const LAST_WORDS_NS: u64 = 2_000_000_000;

/// How a primary came to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// It starts the VM.
    Starts {
        /// The last generation that there was; 0 for a new VM.
        previous: Generation,
        /// Who holds that.
        after: Option<String>,
        /// How long whoever may run the VM gets to see that it is not his any more, in ns.
        yield_ns: u64,
    },
    /// It was the secondary and has won this generation.
    TookOver {
        /// The generation.
        generation: Generation,
        /// When it begins to write shared disks, in ns of its clock: until then whoever had the VM might. Should it be
        /// lost before that, its own secondary has to wait for that too.
        writes_from_ns: u64,
    },
}

/// What a controller is made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Setup {
    /// Times and limits.
    pub config: Config,
    /// How this side names itself to the arbiter.
    pub holder: String,
    /// How it came to be.
    pub origin: Origin,
    /// Where a secondary is looked for.
    pub peer: Option<String>,
    /// What is done when the guest can reach nobody from here.
    pub on_trouble: OnTrouble,
    /// Where the VM stands.
    pub position: Position,
}

/// The controller of a primary. Lives as long as its VM does. `O` is what leaves for the world outside, `W` what is
/// written to shared disks.
#[derive(Debug)]
pub struct Controller<O, W> {
    config: Config,
    holder: String,
    /// Who holds the last generation; none before a VM has its first.
    predecessor: Option<String>,
    role: Primary,
    search: Search,
    operator: Operator,
    divergences: Divergences,
    gate: Gate<O>,
    writes: Gate<W>,
    lease: Lease,
    writes_from_ns: u64,
    looks: Looks,
    outlets: Outlets,
    on_trouble: OnTrouble,
    vcpu: Stall,
    vcpu_steps: u64,
    /// When the guest was last seen to wait, or to come to a sync point.
    spoke_ns: u64,
    /// Outputs for which the gate had no room, since somebody asked.
    dropped_outputs: Vec<GateFull>,
    recorded: Position,
    released: Position,
    next_link: u32,
    /// The generation for which protection was told.
    told_protected: Option<Generation>,
    told_peer: Told,
    /// What ailed the peer when that was last told.
    told_health: Health,
    vcpu_ended_ns: Option<u64>,
    disks_idle: bool,
    /// Never again: the role is not asked any more.
    halted: bool,
    now_ns: u64,
}

impl<O, W> Controller<O, W> {
    /// A controller, and what it asks for first.
    #[must_use]
    pub fn new(setup: Setup, now_ns: u64, effects: &mut Vec<Effect<O, W>>) -> Self {
        let Setup { config, holder, origin, peer, on_trouble, position } = setup;
        let mut first = Vec::new();
        let (role, predecessor, writes_from_ns) = match origin {
            Origin::Starts { previous, after, yield_ns } => {
                (Primary::create(config.clone(), previous, yield_ns, &mut first), after, 0)
            }
            Origin::TookOver { generation, writes_from_ns } => {
                let role = Primary::after_takeover(config.clone(), generation, &mut first);
                (role, Some(holder.clone()), writes_from_ns)
            }
        };
        // The role stops the vCPU at these limits; what was on its way by then must still find room.
        let limits =
            Limits { outputs: config.held_outputs as usize * 2, bytes: config.held_bytes.saturating_mul(2) };
        let mut controller = Self {
            holder,
            predecessor,
            role,
            search: Search::new(peer),
            operator: Operator::default(),
            divergences: Divergences::default(),
            gate: Gate::new(limits),
            writes: Gate::new(Limits { outputs: usize::MAX, bytes: u64::MAX }),
            lease: Lease::new(&config),
            writes_from_ns,
            looks: Looks::default(),
            outlets: Outlets::default(),
            on_trouble,
            vcpu: Stall::new(&config, now_ns),
            vcpu_steps: 0,
            spoke_ns: now_ns,
            dropped_outputs: Vec::new(),
            recorded: position,
            released: position,
            next_link: 0,
            told_protected: None,
            told_peer: Told::new(now_ns),
            told_health: Health::default(),
            vcpu_ended_ns: None,
            disks_idle: true,
            halted: false,
            now_ns,
            config,
        };
        controller.translate(first, effects);
        controller
    }

    /// Takes an event that happened at `now_ns` and appends what is to be done about it.
    pub fn handle(&mut self, event: Event<O, W>, now_ns: u64, effects: &mut Vec<Effect<O, W>>) {
        self.now_ns = now_ns;
        match event {
            Event::Tick(glance) => self.tick(glance, effects),
            Event::Claimed { generation, outcome } => self.claimed(generation, outcome, effects),
            Event::Looked(sight) => self.looked(sight, effects),
            Event::Connected { attempt, result } => self.connected(attempt, result, effects),
            Event::Probed { attempt, result } => self.probed(attempt, result, effects),
            Event::Peer { link, event } => self.tell_role(RoleEvent::Peer { link, event }, effects),
            Event::PeerRefuses { link, reason } => {
                effects.push(Effect::Tell(Notice::Lost(format!("the secondary gives up: {reason}"))));
                self.lose(link, LossReason::Closed, effects);
            }
            Event::PeerDiverged { link } if self.role.link() == Some(link) => {
                self.divergences.add(link, now_ns);
            }
            // Of a connection that is over.
            Event::PeerDiverged { .. } => {}
            Event::Recorded(stretch) => self.take_stretch(stretch, effects),
            Event::SeedFailed { link, reason } => {
                effects.push(Effect::Tell(Notice::Lost(reason.clone())));
                effects.push(Effect::Send { link, message: Message::Refuse(reason) });
                self.lose(link, LossReason::Unwanted, effects);
            }
            Event::Asked { asked, command } => self.asked(asked, command, effects),
            Event::VcpuEnded => {
                self.vcpu_ended_ns.get_or_insert(now_ns);
            }
        }
        self.tell_protection(effects);
    }

    fn tick(&mut self, glance: Glance, effects: &mut Vec<Effect<O, W>>) {
        if !glance.vcpu_busy || glance.vcpu_steps != self.vcpu_steps {
            (self.vcpu_steps, self.spoke_ns) = (glance.vcpu_steps, self.now_ns);
        }
        self.disks_idle = glance.disks_idle;
        self.vcpu.look(glance.vcpu_busy, glance.vcpu_progress, self.now_ns);
        self.outlets.look(glance.health, self.now_ns);
        self.role.set_well(self.outlets.health().is_well() && !self.vcpu.is_likely_stuck(&self.config));
        self.tell_role(RoleEvent::Tick, effects);
        if self.halted {
            return;
        }
        self.tell_peer_news(effects);
        self.hand_over_if_better(effects);
        self.look_at_arbiter(effects);
        let protected = matches!(self.role.phase(), Phase::Protected | Phase::Detaching);
        if protected && self.lease.asks(glance.write_waits) {
            effects.push(Effect::Nudge);
        }
        self.seek(effects);
    }

    /// The vCPU thread has ended, and what the guest said last has left or cannot.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let Some(ended_ns) = self.vcpu_ended_ns else { return false };
        let said_all = self.gate.outputs() == 0 && self.disks_idle;
        self.halted || said_all || self.now_ns.saturating_sub(ended_ns) > LAST_WORDS_NS
    }
}

#[cfg(test)]
mod tests;
