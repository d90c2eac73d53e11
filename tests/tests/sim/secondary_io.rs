//! The model of the threads around a secondary's core.

use std::collections::VecDeque;

use ftlog::{
    Ack, Condition, Frame, FrameDecoder, FrameKind, Generation, Heartbeat, Position, Step, decode_steps,
};
use protocol::LossReason;
use protocol::commit::{Limits, Unreleased};
use protocol::secondary::{DiscardReason, Effect, Event, Secondary};

use crate::faults::MS;
use crate::guest::{Guest, OUTPUT_BYTES, Output};
use crate::host::{self, Clock, Input, Name, Turn, WINDOW_BYTES};
use crate::network::{Arrival, Conn};
use crate::primary_io::PrimaryIo;
use crate::shared::{Failure, Shared};

/// A step of the log; the last one of a batch carries the length of the batch.
struct Waiting {
    step: Step,
    batch_bytes: u64,
}

pub struct SecondaryIo {
    name: Name,
    clock: Clock,
    pub core: Secondary,
    pub effects: VecDeque<Effect>,
    generation: Generation,
    conn: Conn,
    decoder: FrameDecoder,
    reading: bool,
    /// Parts of the seed that have come, and the state they describe.
    parts: u32,
    seed: Guest,
    /// Frames that came while the seed was being loaded.
    loading: Option<VecDeque<Frame>>,
    guest: Option<Guest>,
    /// A batch that the core has not allowed to be executed.
    arrived: Vec<Waiting>,
    log: VecDeque<Waiting>,
    log_bytes: u64,
    unreleased: Unreleased<Output>,
    damaged: bool,
    diverged: bool,
}

impl SecondaryIo {
    /// Accepts a connection whose first frame, Hello, is in the decoder.
    pub fn accept(
        name: Name,
        clock: Clock,
        conn: Conn,
        decoder: FrameDecoder,
        hello: &Frame,
        shared: &mut Shared,
    ) -> Self {
        let generation = Generation(hello.body.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)));
        let now_ns = clock.read_ns(shared.now_ns);
        shared.oracle.starts_anew(name);
        shared.send(conn, name, FrameKind::Welcome, &WINDOW_BYTES.to_le_bytes());
        Self {
            name,
            clock,
            core: Secondary::new(&host::core_config(), generation, WINDOW_BYTES, now_ns),
            effects: VecDeque::new(),
            generation,
            conn,
            decoder,
            reading: true,
            parts: 0,
            seed: Guest::at_power_on(),
            loading: None,
            guest: None,
            arrived: Vec::new(),
            log: VecDeque::new(),
            log_bytes: 0,
            unreleased: Unreleased::new(Limits { outputs: 4096, bytes: 1 << 20 }),
            damaged: false,
            diverged: false,
        }
    }

    pub fn input(&mut self, input: Input, shared: &mut Shared) -> Result<(), Failure> {
        match input {
            Input::Tick => self.tell(Event::Tick, shared),
            Input::Run => self.replay(shared),
            Input::Answer { generation, outcome } => {
                self.tell(Event::Claimed { generation, outcome }, shared);
            }
            Input::Loaded { conn } if conn == self.conn => self.loaded(shared)?,
            Input::Arrival { conn, arrival } if conn == self.conn => self.arrival(arrival, shared)?,
            // A secondary is busy: others are turned away.
            Input::Arrival { conn, .. } => shared.close(conn, self.name),
            Input::Loaded { .. } | Input::SeedPart { .. } | Input::Shown { .. } | Input::Detach => {}
        }
        Ok(())
    }

    fn tell(&mut self, event: Event, shared: &mut Shared) {
        let mut effects = Vec::new();
        shared.say(|| format!("{} {event:?}", self.name));
        self.core.handle(event, self.clock.read_ns(shared.now_ns), &mut effects);
        self.effects.extend(effects);
    }

    pub fn effect(&mut self, effect: Effect, shared: &mut Shared) -> Result<Turn, Failure> {
        shared.say(|| format!("{} does {effect:?}", self.name));
        match effect {
            Effect::SendHeartbeat => {
                let body = Heartbeat {
                    position: Position(0),
                    released: Position(0),
                    time_ns: 0,
                    lease_ns: 0,
                    condition: Condition::default(),
                }
                .encode();
                shared.send(self.conn, self.name, FrameKind::Heartbeat, &body);
            }
            Effect::SendSeedHeld { position } => {
                shared.send(self.conn, self.name, FrameKind::SeedHeld, &position.0.to_le_bytes());
            }
            Effect::SendAck { received, executed, executed_bytes } => {
                let received = shared.perhaps_nonsense(self.conn, received);
                let body = Ack {
                    received,
                    executed,
                    executed_time_ns: 0,
                    executed_bytes,
                    condition: Condition::default(),
                }
                .encode();
                shared.send(self.conn, self.name, FrameKind::Ack, &body);
            }
            Effect::Replay { .. } => self.log.extend(self.arrived.drain(..)),
            Effect::DropPeer { .. } => {
                self.reading = false;
                shared.close(self.conn, self.name);
            }
            Effect::Claim { generation } => shared.ask_arbiter(self.name, generation),
            Effect::GoLive { generation, from } => return self.go_live(generation, from, shared),
            Effect::Discard { reason } => {
                shared.close(self.conn, self.name);
                shared.oracle.gone(self.name);
                self.explain(&reason, shared)?;
                return Ok(Turn::Idle);
            }
        }
        Ok(Turn::Stay)
    }

    /// Property 4, and property 3 by way of the generation that begins here.
    fn go_live(
        &mut self,
        generation: Generation,
        from: Position,
        shared: &mut Shared,
    ) -> Result<Turn, Failure> {
        let flaw = match &self.guest {
            None => Some("without a whole seed".to_owned()),
            Some(_) if self.diverged => Some("after it diverged".to_owned()),
            Some(_) if self.damaged => Some("with a damaged log".to_owned()),
            Some(guest) if guest.position != from => {
                Some(format!("at {from}, its VM is at {}", guest.position))
            }
            Some(_) => None,
        };
        if let Some(flaw) = flaw {
            return Err(Failure::safety(4, format!("{} goes live {flaw}", self.name)));
        }
        if self.unreleased.dropped() > 0 {
            return Err(Failure::bound(format!("{} forgot outputs", self.name)));
        }
        let guest = self.guest.take().expect("checked above");
        shared.stats.takeovers += 1;
        let repeat = self.unreleased.take();
        let io = PrimaryIo::take_over(self.name, self.clock, generation, guest, repeat);
        Ok(Turn::Primary(Box::new(io)))
    }

    /// An honest primary gives no cause for some reasons.
    fn explain(&self, reason: &DiscardReason, shared: &mut Shared) -> Result<(), Failure> {
        let injected = match reason {
            DiscardReason::SeedIncomplete(_) | DiscardReason::Detached | DiscardReason::ClaimLost { .. } => {
                true
            }
            DiscardReason::LogBroken(_) => self.damaged,
            DiscardReason::LogGap { .. } => shared.lost_batch_on(self.conn),
            DiscardReason::Diverged { .. } => {
                shared.stats.divergences += 1;
                self.diverged
            }
            DiscardReason::WindowExceeded { .. }
            | DiscardReason::ReleasedAhead { .. }
            | DiscardReason::OutOfPlace { .. }
            | DiscardReason::Failed { .. }
            | DiscardReason::RanAhead { .. } => false,
        };
        if injected {
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
            self.tell(Event::Lost(LossReason::Closed), shared);
            return Ok(());
        };
        assert_eq!(self.decoder.feed(&bytes), bytes.len(), "the model's frames are short");
        while self.reading {
            match self.decoder.next() {
                Ok(None) => return Ok(()),
                Ok(Some(frame)) => match &mut self.loading {
                    Some(backlog) => {
                        backlog.push_back(frame);
                        self.tell(Event::Heard, shared);
                    }
                    None => self.frame(frame, shared)?,
                },
                Err(_) => self.damage(shared),
            }
        }
        Ok(())
    }

    fn damage(&mut self, shared: &mut Shared) {
        self.damaged = true;
        self.reading = false;
        self.tell(Event::Lost(LossReason::Damaged), shared);
    }

    fn frame(&mut self, frame: Frame, shared: &mut Shared) -> Result<(), Failure> {
        match frame.kind {
            FrameKind::State => {
                let word =
                    |at: usize| u64::from_le_bytes(frame.body[at..at + 8].try_into().expect("8 bytes"));
                self.seed = Guest { position: Position(word(4)), hash: word(12) };
                self.parts += 1;
                self.tell(Event::Heard, shared);
            }
            FrameKind::SeedDone => {
                self.loading = Some(VecDeque::new());
                self.tell(Event::Heard, shared);
                shared.later(self.name, MS..=60 * MS, Input::Loaded { conn: self.conn });
            }
            FrameKind::Steps => self.steps(&frame.body, shared)?,
            FrameKind::Heartbeat => {
                let Ok(heartbeat) = Heartbeat::decode(&frame.body) else {
                    self.damage(shared);
                    return Ok(());
                };
                self.unreleased.released(heartbeat.released);
                self.tell(Event::Heartbeat { released: heartbeat.released }, shared);
            }
            FrameKind::Detach => self.tell(Event::Detached, shared),
            _ => self.damage(shared),
        }
        Ok(())
    }

    fn loaded(&mut self, shared: &mut Shared) -> Result<(), Failure> {
        let backlog = self.loading.take().unwrap_or_default();
        if !self.reading {
            return Ok(());
        }
        let position = self.seed.position;
        self.guest = Some(self.seed);
        shared.oracle.seeded(self.name, self.generation, self.conn, position);
        shared.stats.seeds_held += 1;
        self.tell(Event::SeedHeld { position }, shared);
        for frame in backlog {
            self.frame(frame, shared)?;
        }
        Ok(())
    }

    fn steps(&mut self, body: &[u8], shared: &mut Shared) -> Result<(), Failure> {
        let Ok(frame) = decode_steps(body) else {
            self.damage(shared);
            return Ok(());
        };
        let bytes = body.len() as u64;
        let through = Position(frame.first.0 + frame.steps.len() as u64 - 1);
        self.log_bytes += bytes;
        if self.log_bytes > WINDOW_BYTES {
            return Err(Failure::bound(format!("{} holds {} bytes of log", self.name, self.log_bytes)));
        }
        let last = frame.steps.len() - 1;
        let steps = frame.steps.into_iter().enumerate();
        self.arrived.extend(
            steps.map(|(index, step)| Waiting { step, batch_bytes: if index == last { bytes } else { 0 } }),
        );
        shared.oracle.received(self.conn, frame.first, through);
        self.tell(Event::Received { first: frame.first, through, bytes }, shared);
        Ok(())
    }

    /// Executes some of the log, comparing what comes out with what the primary saw.
    fn replay(&mut self, shared: &mut Shared) {
        let Some(mut guest) = self.guest else { return };
        let steps = if shared.is_slow(self.name.host) { 1 } else { shared.random.within(1..=12) };
        let mut finished_bytes = 0;
        for _ in 0..steps {
            let Some(waiting) = self.log.pop_front() else { break };
            guest.step(waiting.step.time_ns);
            if shared.diverges(self.name.host) {
                guest.hash ^= 1 << 40;
            }
            finished_bytes += waiting.batch_bytes;
            if guest.digest() != waiting.step.digest && !self.diverged {
                self.diverged = true;
                self.tell(Event::Diverged { position: guest.position }, shared);
            }
            if let Some(output) = guest.output() {
                self.unreleased.push(output.position, OUTPUT_BYTES, output);
            }
        }
        self.log_bytes -= finished_bytes;
        if self.guest != Some(guest) {
            self.guest = Some(guest);
            self.tell(Event::Executed { through: guest.position, bytes: finished_bytes }, shared);
        }
    }
}
