//! The state of a pair, and what can happen to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ftlog::{Condition, Generation, Position};
use protocol::arbiter::ClaimOutcome;
use protocol::primary::{self, Batch, Link, PeerEvent, Primary};
use protocol::secondary::{self, DiscardReason, Secondary};
use protocol::{Config, LossReason};

use crate::action::{Action, Limits, Side};

/// Later than every retry; the cores see only this and 0.
const MUCH_LATER_NS: u64 = 3_600_000_000_000;
const WINDOW_BYTES: u64 = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ToSecondary {
    SeedDone(Position),
    Step(Position),
    Released(Position),
    Detach,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ToPrimary {
    SeedHeld(Position),
    Ack { received: Position, executed: Position, executed_bytes: u64 },
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pair {
    limits: Limits,
    arbiter_is_atomic: bool,
    primary: Option<Primary>,
    secondary: Option<Secondary>,
    former: Option<Primary>,
    pub succeeded: bool,
    link: u32,
    connected: bool,
    /// The secondary has not closed its end.
    secondary_reads: bool,
    to_secondary: VecDeque<ToSecondary>,
    to_primary: VecDeque<ToPrimary>,
    holders: BTreeMap<Generation, Side>,
    questions: BTreeMap<Side, Generation>,
    unanswered: u32,
    fuses: u32,
    fuse: Option<(Side, u8)>,
    /// The primary's VM.
    position: Position,
    paused: bool,
    armed: bool,
    gate_is_open: bool,
    gate_through: Position,
    /// What the secondary really holds, and has executed.
    held: Option<Position>,
    executed: Position,
    pub entered: BTreeMap<Generation, BTreeSet<Side>>,
    pub lost: BTreeSet<Side>,
    pub released: Position,
    pub live_from: Option<Position>,
    pub loser_emitted: bool,
    pub released_unheld: bool,
    pub released_on_ack: bool,
    pub live_with_a_flaw: bool,
    pub accused: bool,
}

impl Pair {
    pub fn new(limits: Limits, arbiter_is_atomic: bool) -> Self {
        let mut effects = Vec::new();
        let primary = Primary::create(config(), Generation(0), 0, &mut effects);
        let mut pair = Self {
            limits,
            arbiter_is_atomic,
            primary: Some(primary),
            secondary: None,
            former: None,
            succeeded: false,
            link: 0,
            connected: false,
            secondary_reads: false,
            to_secondary: VecDeque::new(),
            to_primary: VecDeque::new(),
            holders: BTreeMap::new(),
            questions: BTreeMap::new(),
            unanswered: 0,
            fuses: 0,
            fuse: None,
            position: Position(0),
            paused: false,
            armed: false,
            gate_is_open: false,
            gate_through: Position(0),
            held: None,
            executed: Position(0),
            entered: BTreeMap::new(),
            lost: BTreeSet::new(),
            released: Position(0),
            live_from: None,
            loser_emitted: false,
            released_unheld: false,
            released_on_ack: false,
            live_with_a_flaw: false,
            accused: false,
        };
        pair.do_primary(effects);
        // Generation 1 is nobody else's: nothing interesting happens before the primary has it.
        pair.act(Action::Decide(Side::Primary));
        pair
    }

    pub fn can(&self, action: Action) -> bool {
        use primary::Phase;
        let primary_phase = self.primary.as_ref().map(Primary::phase);
        match action {
            Action::Connect => {
                primary_phase == Some(Phase::Unprotected)
                    && !self.connected
                    && self.secondary.is_none()
                    && self.live_from.is_none()
                    && self.link < if self.succeeded { self.limits.links_after } else { self.limits.links }
            }
            Action::Seed | Action::SeedSent => primary_phase == Some(Phase::Seeding) && !self.armed,
            Action::Step => {
                primary_phase.is_some_and(|phase| phase != Phase::Halted)
                    && !self.paused
                    && self.position.0 < self.most_positions()
            }
            Action::Execute => self.held.is_some_and(|held| self.executed < held) && self.secondary.is_some(),
            Action::DeliverToSecondary => self.secondary_reads && !self.to_secondary.is_empty(),
            Action::DeliverToPrimary => self.primary.is_some() && !self.to_primary.is_empty(),
            Action::TimeoutAtPrimary => self.primary.as_ref().is_some_and(|core| core.link().is_some()),
            Action::TimeoutAtSecondary => self.secondary_reads,
            Action::Detach => primary_phase == Some(Phase::Protected),
            Action::Decide(side) => self.questions.contains_key(&side),
            Action::DecideUnheard(side) | Action::Ignore(side) => {
                self.questions.contains_key(&side) && self.unanswered < self.limits.unanswered
            }
            Action::Retry(side) => {
                self.unanswered > 0 && !self.questions.contains_key(&side) && self.arbitrates(side)
            }
            Action::Look => primary_phase.is_some_and(|phase| phase != Phase::Halted),
            Action::Succeed => {
                self.live_from.is_some()
                    && self.secondary.is_some()
                    && !self.succeeded
                    && self.limits.links_after > 0
            }
            Action::FormerLooks => self.former.is_some(),
            Action::TimeoutAtFormer => self.former.as_ref().is_some_and(|core| core.link().is_some()),
            Action::Crash(side) => self.is_up(side),
            Action::Fuse(side, _) => {
                self.is_up(side) && self.fuse.is_none() && self.fuses < self.limits.fuses
            }
        }
    }

    pub fn act(&mut self, action: Action) {
        let link = Link(self.link);
        match action {
            Action::Connect => self.connect(),
            Action::Seed => {
                let position = self.position;
                self.paused = true;
                self.tell_link(link, PeerEvent::SeedStarted { position });
            }
            Action::SeedSent => self.tell_link(link, PeerEvent::SeedSent),
            Action::Step => self.step(),
            Action::Execute => {
                self.executed = self.executed.next();
                let through = self.executed;
                self.tell_secondary(secondary::Event::Executed { through, bytes: 1 }, 0);
            }
            Action::DeliverToSecondary => self.deliver_to_secondary(),
            Action::DeliverToPrimary => self.deliver_to_primary(),
            Action::TimeoutAtPrimary => {
                self.tell_link(link, PeerEvent::Lost(LossReason::Silent { silent_ns: 1 }));
            }
            Action::TimeoutAtSecondary => {
                self.tell_secondary(secondary::Event::Lost(LossReason::Silent { silent_ns: 1 }), 0);
            }
            Action::Detach => self.tell_primary(primary::Event::Detach, 0),
            Action::Decide(side) => {
                if let Some((generation, holder)) = self.decide(side) {
                    self.answer(side, generation, outcome(side, holder));
                }
            }
            Action::DecideUnheard(side) => {
                self.unanswered += 1;
                if let Some((generation, _)) = self.decide(side) {
                    self.answer(side, generation, unavailable());
                }
            }
            Action::Ignore(side) => {
                self.unanswered += 1;
                if let Some(generation) = self.questions.remove(&side) {
                    self.answer(side, generation, unavailable());
                }
            }
            Action::Retry(Side::Primary) => self.tell_primary(primary::Event::Tick, MUCH_LATER_NS),
            Action::Retry(Side::Former) => {}
            Action::Retry(Side::Secondary) => self.tell_secondary(secondary::Event::Tick, MUCH_LATER_NS),
            Action::Look => self.look(),
            Action::Succeed => self.succeed(),
            Action::FormerLooks => self.former_looks(),
            Action::TimeoutAtFormer => {
                if let Some(link) = self.former.as_ref().and_then(Primary::link) {
                    let event = PeerEvent::Lost(LossReason::Silent { silent_ns: 1 });
                    self.tell_former(primary::Event::Peer { link, event });
                }
            }
            Action::Crash(side) => self.crash(side),
            Action::Fuse(side, effects) => {
                self.fuses += 1;
                self.fuse = Some((side, effects));
            }
        }
    }

    fn most_positions(&self) -> u64 {
        self.limits.positions + if self.succeeded { self.limits.positions_after } else { 0 }
    }

    fn is_up(&self, side: Side) -> bool {
        match side {
            Side::Primary => self.primary.is_some(),
            Side::Secondary => self.secondary.is_some(),
            Side::Former => self.former.is_some(),
        }
    }

    fn arbitrates(&self, side: Side) -> bool {
        use {primary::Phase as AtPrimary, secondary::Phase as AtSecondary};
        match side {
            Side::Primary => self
                .primary
                .as_ref()
                .is_some_and(|core| matches!(core.phase(), AtPrimary::Arbitrating | AtPrimary::Detaching)),
            Side::Secondary => {
                self.secondary.as_ref().is_some_and(|core| core.phase() == AtSecondary::Arbitrating)
            }
            Side::Former => false,
        }
    }

    fn connect(&mut self) {
        let Some(generation) = self.primary.as_ref().map(Primary::generation) else { return };
        self.link += 1;
        self.connected = true;
        self.secondary_reads = true;
        self.to_primary.clear();
        self.to_secondary.clear();
        self.held = None;
        // A new process in the secondary's place, for which an earlier loss means nothing.
        self.lost.remove(&Side::Secondary);
        self.secondary = Some(Secondary::new(&config(), generation, WINDOW_BYTES, 0));
        self.tell_link(Link(self.link), PeerEvent::Ready { window_bytes: WINDOW_BYTES });
    }

    fn step(&mut self) {
        self.position = self.position.next();
        let through = self.position;
        self.tell_primary(primary::Event::Recorded(Batch { through, bytes: 1, since_ns: 0 }), 0);
        self.let_out();
    }

    /// Lets out what the gate allows, which is where a primary speaks.
    fn let_out(&mut self) {
        if self.primary.is_none() {
            return;
        }
        let through = if self.gate_is_open { self.position } else { self.gate_through.min(self.position) };
        if through <= self.released {
            return;
        }
        self.released = through;
        self.loser_emitted |= self.lost.contains(&Side::Primary);
        if !self.gate_is_open {
            self.released_on_ack = true;
            self.released_unheld |= self.held.is_none_or(|held| through > held);
        }
    }

    fn decide(&mut self, side: Side) -> Option<(Generation, Side)> {
        let generation = self.questions.remove(&side)?;
        let holder = *self.holders.entry(generation).or_insert(side);
        Some((generation, if self.arbiter_is_atomic { holder } else { side }))
    }

    fn answer(&mut self, side: Side, generation: Generation, outcome: ClaimOutcome) {
        if matches!(outcome, ClaimOutcome::Lost { .. }) {
            self.lost.insert(side);
        }
        match side {
            Side::Primary => self.tell_primary(primary::Event::Claimed { generation, outcome }, 0),
            Side::Secondary => self.tell_secondary(secondary::Event::Claimed { generation, outcome }, 0),
            Side::Former => self.tell_former(primary::Event::Claimed { generation, outcome }),
        }
    }

    fn look(&mut self) {
        let Some((generation, Side::Secondary)) = self.holders.last_key_value() else { return };
        let event = primary::Event::ArbiterShows { generation: *generation, holder: "Secondary".into() };
        self.tell_primary(event, 0);
        if self.primary.as_ref().is_some_and(|core| core.phase() == primary::Phase::Halted) {
            self.lost.insert(Side::Primary);
        }
    }

    /// What is on its way between the two that lost each other has been followed without this step, and changes nothing for
    /// the new pair: only the arbiter is between them.
    fn succeed(&mut self) {
        let Some(survivor) = self.secondary.take() else { return };
        let renamed = |side: Side| if side == Side::Secondary { Side::Primary } else { Side::Former };
        self.succeeded = true;
        self.live_from = None;
        self.former = self.primary.take().filter(|core| core.phase() != primary::Phase::Halted);
        self.holders.values_mut().for_each(|side| *side = renamed(*side));
        for sides in self.entered.values_mut() {
            *sides = sides.iter().map(|side| renamed(*side)).collect();
        }
        self.questions = self.questions.iter().map(|(side, asked)| (renamed(*side), *asked)).collect();
        self.lost = self.lost.iter().map(|side| renamed(*side)).collect();
        self.fuse = None;
        // Followed before.
        (self.fuses, self.unanswered) = (self.limits.fuses, self.limits.unanswered);
        (self.link, self.connected, self.secondary_reads) = (0, false, false);
        self.to_secondary.clear();
        self.to_primary.clear();
        (self.position, self.paused, self.armed) = (self.executed, false, false);
        (self.gate_is_open, self.gate_through) = (false, self.released);
        self.held = None;
        let mut effects = Vec::new();
        let core = Primary::after_takeover(config(), survivor.generation(), &mut effects);
        self.primary = Some(core);
        self.do_primary(effects);
    }

    fn former_looks(&mut self) {
        let Some((generation, Side::Primary | Side::Secondary)) = self.holders.last_key_value() else {
            return;
        };
        let event = primary::Event::ArbiterShows { generation: *generation, holder: "another".into() };
        self.tell_former(event);
    }

    /// Of what a former primary would do, what matters is whether it goes on.
    fn tell_former(&mut self, event: primary::Event) {
        use primary::Effect;
        let mut effects = Vec::new();
        if let Some(core) = &mut self.former {
            core.handle(event, 0, &mut effects);
        }
        for effect in effects {
            match effect {
                Effect::Claim { generation } => {
                    self.questions.insert(Side::Former, generation);
                }
                Effect::EnterGeneration { generation } => {
                    self.entered.entry(generation).or_default().insert(Side::Former);
                }
                Effect::OpenGate => self.loser_emitted |= self.lost.contains(&Side::Former),
                Effect::Halt { .. } => {
                    self.former = None;
                    self.questions.remove(&Side::Former);
                }
                _ => {}
            }
        }
    }

    fn crash(&mut self, side: Side) {
        self.questions.remove(&side);
        self.fuse = None;
        match side {
            Side::Primary => {
                self.primary = None;
                self.send_to_secondary(ToSecondary::Closed);
            }
            Side::Secondary => {
                self.secondary = None;
                self.close_at_secondary();
            }
            Side::Former => self.former = None,
        }
    }

    /// The secondary reads no more; the primary hears of it in time.
    fn close_at_secondary(&mut self) {
        if std::mem::replace(&mut self.secondary_reads, false) {
            self.to_secondary.clear();
            self.to_primary.push_back(ToPrimary::Closed);
        }
    }

    fn send_to_secondary(&mut self, message: ToSecondary) {
        if self.secondary_reads {
            self.to_secondary.push_back(message);
        }
    }

    fn deliver_to_secondary(&mut self) {
        let Some(message) = self.to_secondary.pop_front() else { return };
        let event = match message {
            ToSecondary::SeedDone(position) => {
                self.held = Some(position);
                self.executed = position;
                secondary::Event::SeedHeld { position }
            }
            ToSecondary::Step(position) => {
                self.held = self.held.map(|_| position);
                secondary::Event::Received { first: position, through: position, bytes: 1 }
            }
            ToSecondary::Released(released) => {
                secondary::Event::Heartbeat { released, condition: Condition::default() }
            }
            ToSecondary::Detach => secondary::Event::Detached,
            ToSecondary::Closed => secondary::Event::Lost(LossReason::Closed),
        };
        self.tell_secondary(event, 0);
    }

    fn deliver_to_primary(&mut self) {
        let Some(message) = self.to_primary.pop_front() else { return };
        let event = match message {
            ToPrimary::SeedHeld(position) => PeerEvent::SeedHeld { position },
            ToPrimary::Ack { received, executed, executed_bytes } => PeerEvent::Acknowledged {
                received,
                executed,
                executed_bytes,
                condition: Condition::default(),
            },
            ToPrimary::Closed => PeerEvent::Lost(LossReason::Closed),
        };
        self.tell_link(Link(self.link), event);
    }

    fn tell_link(&mut self, link: Link, event: PeerEvent) {
        self.tell_primary(primary::Event::Peer { link, event }, 0);
    }

    fn tell_primary(&mut self, event: primary::Event, now_ns: u64) {
        let mut effects = Vec::new();
        if let Some(core) = &mut self.primary {
            core.handle(event, now_ns, &mut effects);
        }
        self.do_primary(effects);
    }

    fn tell_secondary(&mut self, event: secondary::Event, now_ns: u64) {
        let mut effects = Vec::new();
        if let Some(core) = &mut self.secondary {
            core.handle(event, now_ns, &mut effects);
        }
        for effect in effects {
            if self.burns_down(Side::Secondary) {
                return;
            }
            self.do_secondary(effect);
        }
    }

    /// Counts the fuse down; true if the side crashes before its next effect.
    fn burns_down(&mut self, side: Side) -> bool {
        match &mut self.fuse {
            Some((burning, left)) if *burning == side => {
                *left -= 1;
                let crashes = *left == 0;
                if crashes {
                    self.crash(side);
                }
                crashes
            }
            _ => false,
        }
    }

    fn do_primary(&mut self, effects: Vec<primary::Effect>) {
        use primary::Effect;
        for effect in effects {
            if self.burns_down(Side::Primary) {
                return;
            }
            match effect {
                Effect::Claim { generation } => {
                    self.questions.insert(Side::Primary, generation);
                }
                Effect::EnterGeneration { generation } => {
                    self.entered.entry(generation).or_default().insert(Side::Primary);
                }
                Effect::OpenGate => {
                    self.gate_is_open = true;
                    self.let_out();
                }
                Effect::CloseGate { after } => {
                    self.gate_is_open = false;
                    self.gate_through = after;
                }
                Effect::Release { through } => {
                    self.gate_through = through;
                    self.let_out();
                    self.send_to_secondary(ToSecondary::Released(self.released));
                }
                Effect::SendSeedDone { .. } => {
                    self.send_to_secondary(ToSecondary::SeedDone(self.position));
                    self.armed = true;
                    self.paused = false;
                }
                Effect::SendDetach { .. } => self.send_to_secondary(ToSecondary::Detach),
                Effect::DropPeer { reason, .. } => {
                    self.accused |= matches!(reason, LossReason::Violation(_));
                    self.paused = false;
                    self.armed = false;
                    self.connected = false;
                    self.to_primary.clear();
                    self.send_to_secondary(ToSecondary::Closed);
                }
                Effect::Halt { .. } => {
                    self.gate_is_open = false;
                    self.gate_through = self.released;
                }
                // One step at a time: the window of the model is never full.
                Effect::SendLog { through, .. } => self.send_to_secondary(ToSecondary::Step(through)),
                Effect::StartSeed { .. }
                | Effect::ForgetLog { .. }
                | Effect::SendHeartbeat { .. }
                | Effect::SetPace(_)
                | Effect::Detached => {}
            }
        }
    }

    fn do_secondary(&mut self, effect: secondary::Effect) {
        use secondary::Effect;
        match effect {
            Effect::SendSeedHeld { position } => self.to_primary.push_back(ToPrimary::SeedHeld(position)),
            Effect::SendAck { received, executed, executed_bytes } => {
                self.to_primary.push_back(ToPrimary::Ack { received, executed, executed_bytes });
            }
            Effect::DropPeer { .. } => self.close_at_secondary(),
            Effect::Claim { generation } => {
                self.questions.insert(Side::Secondary, generation);
            }
            Effect::GoLive { generation, from } => {
                self.entered.entry(generation).or_default().insert(Side::Secondary);
                self.live_from = Some(from);
                self.live_with_a_flaw |= self.held != Some(from) || self.executed != from;
            }
            Effect::Discard { reason } => {
                self.accused |= !matches!(
                    reason,
                    DiscardReason::SeedIncomplete(_)
                        | DiscardReason::ClaimLost { .. }
                        | DiscardReason::Detached
                );
                self.secondary = None;
                self.questions.remove(&Side::Secondary);
                self.close_at_secondary();
            }
            Effect::SendHeartbeat | Effect::Replay { .. } => {}
        }
    }
}

fn config() -> Config {
    Config { batch_bytes: 10, ..Config::default() }
}

fn outcome(side: Side, holder: Side) -> ClaimOutcome {
    if side == holder { ClaimOutcome::Won } else { ClaimOutcome::Lost { holder: format!("{holder:?}") } }
}

fn unavailable() -> ClaimOutcome {
    ClaimOutcome::Unavailable { reason: "no answer".into() }
}
