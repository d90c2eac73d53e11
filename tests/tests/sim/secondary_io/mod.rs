//! The model of what is around a secondary's [`Follower`]: a connection, a machine, copies of disks.

use std::collections::VecDeque;

use ftlog::{Ack, Delta, ExitKind, Frame, FrameDecoder, FrameKind, Generation, Position, Step, StepsFrame};
use protocol::arbiter::ClaimOutcome;
use protocol::commit::{Limits, Unreleased};
use protocol::fence::{LONGEST_LEASE_NS, takeover_wait_ns};
use protocol::secondary::DiscardReason;
use protocol::secondary::follower::{self, Action, Follower, Introduction, Sample, Work};
use protocol::{LossReason, Recovery};

use crate::failure::Failure;
use crate::faults::MS;
use crate::guest::{Guest, Output};
use crate::input::Input;
use crate::network::{Arrival, Conn};
use crate::primary_io::{PrimaryIo, Turn};
use crate::process::{self, Name, WINDOW_BYTES};
use crate::shared::Shared;

mod replay;

/// A step to be executed; the last one of a batch carries the length of the batch.
struct Waiting {
    step: Step,
    /// What the guest is there, if no step leads there.
    delta: Option<Delta>,
    batch_bytes: u64,
}

pub struct SecondaryIo {
    name: Name,
    /// Who holds the generation of the primary's, as that names itself.
    primary: String,
    pub core: Follower,
    pub effects: VecDeque<Action>,
    generation: Generation,
    conn: Conn,
    decoder: FrameDecoder,
    reading: bool,
    /// The state that the seed describes.
    seed: Guest,
    /// When the copies of its disks will be safe.
    copied_ns: Option<u64>,
    guest: Option<Guest>,
    executed: u64,
    /// What it has done in a stretch that does not end.
    spun: u64,
    /// Log that came before there was a machine, for the oracle.
    early: Vec<(Position, Position)>,
    log: VecDeque<Waiting>,
    /// Log in memory, wherever it waits.
    log_bytes: u64,
    /// Of a delta whose step has not come.
    delta_bytes: u64,
    unreleased: Unreleased<Output>,
    /// What the primary says has left.
    released: Position,
    damaged: bool,
    diverged: bool,
}

impl SecondaryIo {
    /// Accepts a connection whose first frame, Hello, is in the decoder.
    pub fn accept(name: Name, conn: Conn, decoder: FrameDecoder, hello: &Frame, shared: &mut Shared) -> Self {
        let word = |at: usize| hello.body.as_chunks().0.get(at).map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let (generation, lease_ns) = (Generation(word(0)), word(1));
        let primary = Name { host: word(2) as usize, incarnation: word(3) as u32 }.to_string();
        let now_ns = shared.clock_ns(name.host);
        shared.oracle.starts_anew(name);
        shared.send(conn, name, FrameKind::Welcome, &WINDOW_BYTES.to_le_bytes());
        let has_copies = shared.random.chance(500_000);
        let introduction = Introduction { generation, lease_ns, has_copies, memory_mib: 4 };
        Self {
            name,
            primary,
            core: Follower::new(&process::core_config(), introduction, WINDOW_BYTES, now_ns),
            effects: VecDeque::new(),
            generation,
            conn,
            decoder,
            reading: true,
            seed: Guest::at_power_on(),
            copied_ns: None,
            guest: None,
            executed: 0,
            spun: 0,
            early: Vec::new(),
            log: VecDeque::new(),
            log_bytes: 0,
            delta_bytes: 0,
            unreleased: Unreleased::new(Limits { outputs: 4096, bytes: 1 << 20 }),
            released: Position(0),
            damaged: false,
            diverged: false,
        }
    }

    pub fn input(&mut self, input: Input, shared: &mut Shared) -> Result<(), Failure> {
        match input {
            Input::Tick => self.tick(shared),
            Input::Run => self.replay(shared),
            Input::Answer { generation, outcome } => {
                self.tell(follower::Input::Claimed { generation, outcome }, shared);
            }
            Input::Loaded { conn } if conn == self.conn => self.loaded(shared),
            Input::Arrival { conn, arrival } if conn == self.conn => self.arrival(arrival, shared)?,
            // A secondary is busy: others are turned away.
            Input::Arrival { conn, .. } => shared.close(conn, self.name),
            Input::Loaded { .. } | Input::SeedPart { .. } | Input::Shown { .. } => {}
            Input::Letters | Input::Stop => {}
            Input::Command(_) | Input::Probed { .. } | Input::GreetingOver { .. } => {}
        }
        Ok(())
    }

    /// The process ends.
    pub fn end(&mut self, shared: &mut Shared) {
        shared.stats.ends += 1;
        shared.oracle.gone(self.name);
        shared.close(self.conn, self.name);
    }

    fn tell(&mut self, input: follower::Input, shared: &mut Shared) {
        let mut actions = Vec::new();
        shared.say(|| format!("{} {input:?}", self.name));
        self.core.handle(input, shared.clock_ns(self.name.host), &mut actions);
        self.effects.extend(actions);
    }

    fn tick(&mut self, shared: &mut Shared) {
        let vcpu = Work { busy: !self.log.is_empty(), done: self.executed + self.spun };
        let sample = Sample { vcpu, ..Sample::default() };
        self.tell(follower::Input::Seen(sample), shared);
        self.tell(follower::Input::Tick, shared);
        if self.copied_ns.take_if(|at_ns| *at_ns <= shared.now_ns).is_some() {
            self.tell(follower::Input::Copied, shared);
        }
    }

    pub fn effect(&mut self, action: Action, shared: &mut Shared) -> Result<Turn, Failure> {
        shared.say(|| format!("{} does {action:?}", self.name));
        match action {
            Action::Send { kind, body } => self.send(kind, body, shared),
            Action::Seed(frame) => {
                let word =
                    |at: usize| u64::from_le_bytes(frame.body[at..at + 8].try_into().expect("8 bytes"));
                self.seed = Guest { position: Position(word(4)), hash: word(12) };
            }
            Action::FinishCopies if shared.is_threadless(self.name.host) => {
                self.tell(follower::Input::Unusable { reason: "no thread".to_owned() }, shared);
            }
            Action::FinishCopies => {
                self.copied_ns = Some(shared.now_ns + shared.random.within(MS..=60 * MS));
            }
            Action::Load => shared.later(self.name, MS..=60 * MS, Input::Loaded { conn: self.conn }),
            Action::Execute { batch, delta, bytes } => self.execute(batch, delta, bytes),
            Action::TellPages { .. } => {}
            Action::Released { through } => {
                self.released = self.released.max(through);
                self.unreleased.released(through);
            }
            Action::DropPeer { .. } => {
                self.reading = false;
                shared.close(self.conn, self.name);
            }
            Action::Claim { generation } if shared.is_threadless(self.name.host) => {
                let outcome = ClaimOutcome::Unavailable { reason: "no thread".to_owned() };
                self.tell(follower::Input::Claimed { generation, outcome }, shared);
            }
            Action::Claim { generation } => {
                shared.ask_arbiter(self.name, generation, Some(self.primary.clone()));
            }
            Action::GoLive { generation, from, recovery, lease_ns, .. } => {
                return self.go_live(generation, from, recovery, lease_ns, shared);
            }
            Action::Discard { reason } => {
                shared.close(self.conn, self.name);
                shared.oracle.gone(self.name);
                self.explain(&reason, shared)?;
                return Ok(Turn::Idle);
            }
            Action::Copy(_) if shared.has_lied(self.conn) => {}
            Action::Copy(_) | Action::End => {
                return Err(Failure::accusation(None, format!("{} does what nobody asked for", self.name)));
            }
            Action::Following { .. } | Action::GivenUp { .. } | Action::Explained { .. } => {}
        }
        Ok(Turn::Stay)
    }

    fn send(&mut self, kind: FrameKind, mut body: Vec<u8>, shared: &mut Shared) {
        if let (FrameKind::Ack, Ok(ack)) = (kind, Ack::decode(&body)) {
            let received = shared.perhaps_nonsense(self.conn, ack.received);
            body = Ack { received, ..ack }.encode().to_vec();
        }
        shared.send(self.conn, self.name, kind, &body);
    }

    /// Property 4, and property 3 by way of the generation that begins here.
    fn go_live(
        &mut self,
        generation: Generation,
        from: Position,
        recovery: Option<Recovery>,
        lease_ns: u64,
        shared: &mut Shared,
    ) -> Result<Turn, Failure> {
        let flaw = match &self.guest {
            None => Some("without a whole seed".to_owned()),
            Some(_) if self.diverged => Some("after it diverged".to_owned()),
            Some(_) if self.damaged => Some("with a damaged log".to_owned()),
            Some(guest) if guest.position != from => {
                Some(format!("at {from}, its VM is at {}", guest.position))
            }
            Some(guest) if guest.position < self.released => {
                Some(format!("at {from}, outputs of {} are said to have left", self.released))
            }
            Some(_) => None,
        };
        if let Some(flaw) = flaw {
            return Err(Failure::safety(4, format!("{} goes live {flaw}", self.name)));
        }
        if self.unreleased.dropped() > 0 {
            return Err(Failure::bound(format!("{} forgot outputs", self.name)));
        }
        if lease_ns > LONGEST_LEASE_NS {
            return Err(Failure::bound(format!("{} waits {lease_ns} ns for its disks", self.name)));
        }
        let guest = self.guest.take().expect("checked above");
        shared.stats.takeovers += 1;
        let repeat = self.unreleased.take();
        let heard_ns = recovery.map_or(0, |recovery| recovery.heard_ns);
        let from_ns = heard_ns + takeover_wait_ns(lease_ns);
        let io = PrimaryIo::take_over(self.name, generation, guest, repeat, from_ns, shared);
        Ok(Turn::Primary(Box::new(io)))
    }

    /// An honest primary gives no cause for some reasons.
    fn explain(&self, reason: &DiscardReason, shared: &mut Shared) -> Result<(), Failure> {
        let injected = match reason {
            DiscardReason::SeedIncomplete(_) | DiscardReason::Detached | DiscardReason::ClaimLost { .. } => {
                true
            }
            // Of what is lost some may be there, which leads nowhere.
            DiscardReason::LogBroken(_) => self.damaged || shared.lost_batch_on(self.conn),
            DiscardReason::LogGap { .. } => shared.lost_batch_on(self.conn),
            DiscardReason::Diverged { .. } => {
                shared.stats.divergences += 1;
                self.diverged
            }
            DiscardReason::WindowExceeded { .. }
            | DiscardReason::ReleasedAhead { .. }
            | DiscardReason::OutOfPlace { .. }
            | DiscardReason::Failed { .. }
            | DiscardReason::Unusable { .. }
            | DiscardReason::RanAhead { .. } => false,
        };
        let threadless = matches!(reason, DiscardReason::Unusable { reason } if reason == "no thread");
        if injected || threadless || shared.has_lied(self.conn) {
            return Ok(());
        }
        // Released ahead is the gate's check seen from the other side.
        let property = matches!(reason, DiscardReason::ReleasedAhead { .. }).then_some(1);
        Err(Failure::accusation(property, format!("{} gives up: {reason}", self.name)))
    }

    fn arrival(&mut self, arrival: Arrival, shared: &mut Shared) -> Result<(), Failure> {
        if !self.reading {
            return Ok(());
        }
        let Arrival::Bytes(bytes) = arrival else {
            self.reading = false;
            self.tell(follower::Input::Lost(LossReason::Closed), shared);
            return Ok(());
        };
        assert_eq!(self.decoder.feed(&bytes), bytes.len(), "the model's frames are short");
        self.tell(follower::Input::Bytes, shared);
        while self.reading {
            match self.decoder.next() {
                Ok(None) => return Ok(()),
                Ok(Some(frame)) => self.frame(frame, shared)?,
                Err(_) => {
                    self.damaged = true;
                    self.reading = false;
                    self.tell(follower::Input::Lost(LossReason::Damaged), shared);
                }
            }
        }
        Ok(())
    }

    /// What comes is handed on; the oracle wants to know of the log.
    fn frame(&mut self, frame: Frame, shared: &mut Shared) -> Result<(), Failure> {
        let log = (frame.kind == FrameKind::Steps).then(|| ftlog::decode_steps(&frame.body).ok()).flatten();
        if matches!(frame.kind, FrameKind::Pages | FrameKind::Delta) {
            self.delta_bytes += frame.body.len() as u64;
        }
        if let Some(log) = log {
            let (is_alone, delta_bytes) = (self.log_bytes == 0, std::mem::take(&mut self.delta_bytes));
            let is_forced = log.steps[0].exit == ExitKind::Forced;
            self.log_bytes += frame.body.len() as u64 + if is_forced { delta_bytes } else { 0 };
            if self.log_bytes > WINDOW_BYTES && !is_alone && !shared.has_lied(self.conn) {
                return Err(Failure::bound(format!("{} holds {} bytes of log", self.name, self.log_bytes)));
            }
            let (first, last) = (log.first, through(&log));
            match self.guest {
                Some(_) => shared.oracle.received(self.conn, first, last),
                None => self.early.push((first, last)),
            }
        }
        self.tell(follower::Input::Frame(frame), shared);
        Ok(())
    }
}

fn through(log: &StepsFrame) -> Position {
    Position(log.first.0 + log.steps.len() as u64 - 1)
}
