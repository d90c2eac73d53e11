//! The model of the threads around a primary's core.

use std::collections::VecDeque;

use ftlog::{
    Ack, Condition, ExitKind, FrameDecoder, FrameKind, Generation, Heartbeat, Position, StepEncoder, StepRef,
};
use protocol::commit::{Gate, Held, Limits};
use protocol::primary::{Effect, Event, Link, PeerEvent, Phase, Primary};
use protocol::{LossReason, primary::Pace};

use crate::faults::MS;
use crate::guest::{Guest, OUTPUT_BYTES, Output};
use crate::host::{self, BATCH_STEPS, Clock, Input, Name, Turn};
use crate::network::{Arrival, Conn};
use crate::oracle::Leave;
use crate::shared::{Failure, Shared};

/// Looks at the arbiter, per million ticks.
const LOOKS: u64 = 50_000;
/// Parts of a seed before its final frame.
const SEED_PARTS: u32 = 4;

struct Wire {
    link: Link,
    conn: Conn,
    decoder: FrameDecoder,
    /// We still read it. What a reader thread had read already may come after the core has dropped the link.
    reading: bool,
    dropped: bool,
}

pub struct PrimaryIo {
    name: Name,
    clock: Clock,
    pub core: Primary,
    pub effects: VecDeque<Effect>,
    generation: Generation,
    guest: Guest,
    gate: Gate<Output>,
    gate_is_open: bool,
    pace: Pace,
    paused_for: Option<Link>,
    /// The link that the log goes to, and the connection whose acknowledgements opened the gate last.
    log_link: Option<Link>,
    log_conn: Option<Conn>,
    batch: StepEncoder,
    batch_outputs: Vec<Output>,
    released: Position,
    /// After a takeover: what may not have left yet.
    repeat: Vec<Output>,
    taken_over: bool,
    wires: Vec<Wire>,
    next_link: u32,
    dial_ns: u64,
}

impl PrimaryIo {
    pub fn create(name: Name, clock: Clock) -> Self {
        let mut effects = Vec::new();
        let core = Primary::create(host::core_config(), Generation(0), 0, &mut effects);
        Self::new(name, clock, core, effects, Guest::at_power_on())
    }

    pub fn take_over(
        name: Name,
        clock: Clock,
        generation: Generation,
        guest: Guest,
        repeat: Vec<Output>,
    ) -> Self {
        let mut effects = Vec::new();
        let core = Primary::after_takeover(host::core_config(), generation, &mut effects);
        let mut io = Self::new(name, clock, core, effects, guest);
        io.repeat = repeat;
        io.taken_over = true;
        io
    }

    fn new(name: Name, clock: Clock, core: Primary, effects: Vec<Effect>, guest: Guest) -> Self {
        Self {
            name,
            clock,
            core,
            effects: effects.into(),
            generation: Generation(0),
            guest,
            gate: Gate::new(Limits { outputs: host::GATE_OUTPUTS, bytes: 1 << 20 }),
            gate_is_open: false,
            pace: Pace::Stopped,
            paused_for: None,
            log_link: None,
            log_conn: None,
            batch: StepEncoder::new(guest.position.next()),
            batch_outputs: Vec::new(),
            released: guest.position,
            repeat: Vec::new(),
            taken_over: false,
            wires: Vec::new(),
            next_link: 0,
            dial_ns: 0,
        }
    }

    pub fn input(&mut self, input: Input, shared: &mut Shared) -> Result<(), Failure> {
        match input {
            Input::Tick => {
                self.tell(Event::Tick, shared);
                self.dial(shared);
                self.look(shared);
            }
            Input::Run => self.run_vcpu(shared)?,
            Input::Answer { generation, outcome } => {
                self.tell(Event::Claimed { generation, outcome }, shared);
            }
            Input::Shown { generation, holder } if holder != self.name => {
                if generation > self.core.generation() {
                    shared.oracle.lost(self.name);
                }
                self.tell(Event::ArbiterShows { generation, holder: holder.to_string() }, shared);
            }
            Input::Shown { .. } => {}
            Input::Detach => self.tell(Event::Detach, shared),
            Input::SeedPart { link, part } => self.seed_part(link, part, shared),
            Input::Arrival { conn, arrival } => self.arrival(conn, arrival, shared),
            Input::Loaded { .. } => {}
        }
        Ok(())
    }

    fn tell(&mut self, event: Event, shared: &mut Shared) {
        let mut effects = Vec::new();
        shared.say(|| format!("{} {event:?}", self.name));
        self.core.handle(event, self.clock.read_ns(shared.now_ns), &mut effects);
        self.effects.extend(effects);
    }

    fn tell_peer(&mut self, link: Link, event: PeerEvent, shared: &mut Shared) {
        self.tell(Event::Peer { link, event }, shared);
    }

    pub fn effect(&mut self, effect: Effect, shared: &mut Shared) -> Result<Turn, Failure> {
        shared.say(|| format!("{} does {effect:?}", self.name));
        match effect {
            Effect::Claim { generation } => shared.ask_arbiter(self.name, generation),
            Effect::EnterGeneration { generation } => {
                self.generation = generation;
                shared.oracle.enters(generation, self.name, self.guest, &shared.arbiter)?;
            }
            Effect::OpenGate => self.open_gate(shared)?,
            Effect::CloseGate { after } => {
                self.gate.close(after);
                self.gate_is_open = false;
                self.released = after;
            }
            Effect::Release { through } => {
                let mut left = Vec::new();
                self.gate.release(through, &mut left);
                self.let_out(left, shared)?;
                self.released = self.released.max(through);
                self.tell_held(shared);
            }
            Effect::StartSeed { link } => {
                self.flush(shared)?;
                self.paused_for = Some(link);
                shared.later(self.name, MS..=5 * MS, Input::SeedPart { link, part: 0 });
            }
            Effect::SendSeedDone { link } => {
                self.send(link, FrameKind::SeedDone, &[], shared);
                self.log_link = Some(link);
                self.log_conn = self.wire(link).map(|wire| wire.conn);
                self.paused_for = None;
            }
            Effect::SendHeartbeat { link } => {
                let position = self.guest.position;
                let body = Heartbeat {
                    position,
                    released: self.released,
                    time_ns: 0,
                    lease_ns: 0,
                    condition: Condition::default(),
                }
                .encode();
                self.send(link, FrameKind::Heartbeat, &body, shared);
            }
            Effect::SendDetach { link } => self.send(link, FrameKind::Detach, &[], shared),
            Effect::DropPeer { link, reason } => self.drop_peer(link, &reason, shared)?,
            Effect::SetPace(pace) => {
                self.pace = pace;
                shared.stats.stops += u64::from(pace == Pace::Stopped);
            }
            Effect::Detached => shared.stats.detaches += 1,
            Effect::Halt { .. } => {
                self.gate.shut();
                shared.stats.halts += 1;
                shared.oracle.gone(self.name);
                return Ok(Turn::Idle);
            }
        }
        Ok(Turn::Stay)
    }

    fn open_gate(&mut self, shared: &mut Shared) -> Result<(), Failure> {
        let mut left = Vec::new();
        self.gate.open(&mut left);
        self.gate_is_open = true;
        self.let_out(left, shared)?;
        for output in std::mem::take(&mut self.repeat) {
            shared.oracle.leaves(self.name, self.generation, output, Leave::Open)?;
        }
        if std::mem::take(&mut self.taken_over) {
            shared.oracle.nothing_unsaid(self.generation, self.guest.position)?;
        }
        self.tell_held(shared);
        Ok(())
    }

    fn drop_peer(&mut self, link: Link, reason: &LossReason, shared: &mut Shared) -> Result<(), Failure> {
        if self.log_link == Some(link) {
            self.log_link = None;
        }
        if self.paused_for == Some(link) {
            self.paused_for = None;
        }
        let leak = shared.random.chance(300_000);
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.link == link) else { return Ok(()) };
        wire.dropped = true;
        wire.reading &= leak;
        let conn = wire.conn;
        shared.close(conn, self.name);
        shared.honest(conn, reason)
    }

    fn run_vcpu(&mut self, shared: &mut Shared) -> Result<(), Failure> {
        if self.generation == Generation(0) || self.paused_for.is_some() {
            return Ok(());
        }
        let steps = match self.pace {
            Pace::Full => shared.random.within(1..=6),
            Pace::Slow => 1,
            Pace::Stopped => 0,
        };
        for _ in 0..steps {
            let input = shared.random.next();
            self.guest.step(input);
            let step = StepRef {
                time_ns: input,
                exit: ExitKind::Pio,
                digest: self.guest.digest(),
                entries: None,
                events: &[],
                registers: None,
            };
            self.batch.push(step).expect("a model step is small");
            self.batch_outputs.extend(self.guest.output());
            shared.oracle.executed(self.generation, self.name, &self.guest);
            if self.batch.count() >= BATCH_STEPS {
                self.flush(shared)?;
            }
        }
        if steps == 0 || shared.random.chance(700_000) {
            self.flush(shared)?;
        }
        Ok(())
    }

    /// Hands the batch to the channel, tells the core, and only then lets the outputs meet the gate.
    fn flush(&mut self, shared: &mut Shared) -> Result<(), Failure> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let through = self.guest.position;
        let body = self.batch.body().to_vec();
        self.batch = StepEncoder::new(through.next());
        if let Some(link) = self.log_link
            && !shared.batch_is_lost(self.log_conn)
        {
            self.send(link, FrameKind::Steps, &body, shared);
        }
        self.tell(Event::Appended { through, bytes: body.len() as u64 }, shared);
        for output in std::mem::take(&mut self.batch_outputs) {
            let left = self.gate.put(output.position, OUTPUT_BYTES, shared.now_ns, output);
            let left = left.map_err(|full| Failure::bound(format!("{}: {full}", self.name)))?;
            self.let_out(left.into_iter().collect(), shared)?;
        }
        self.tell_held(shared);
        Ok(())
    }

    fn let_out(&mut self, left: Vec<Held<Output>>, shared: &mut Shared) -> Result<(), Failure> {
        let why = if self.gate_is_open { Leave::Open } else { Leave::Held(self.log_conn) };
        for held in left {
            shared.oracle.leaves(self.name, self.generation, held.item, why)?;
            shared.stats.outputs += 1;
        }
        Ok(())
    }

    fn tell_held(&mut self, shared: &mut Shared) {
        let (outputs, bytes) = (self.gate.outputs() as u64, self.gate.bytes());
        self.tell(Event::Held { outputs, bytes }, shared);
    }

    fn seed_part(&mut self, link: Link, part: u32, shared: &mut Shared) {
        if self.paused_for != Some(link) {
            return;
        }
        let position = self.guest.position;
        if part == 0 {
            self.tell_peer(link, PeerEvent::SeedStarted { position }, shared);
        }
        if part < SEED_PARTS {
            let mut body = part.to_le_bytes().to_vec();
            body.extend(position.0.to_le_bytes());
            body.extend(self.guest.hash.to_le_bytes());
            self.send(link, FrameKind::State, &body, shared);
            shared.later(self.name, MS..=40 * MS, Input::SeedPart { link, part: part + 1 });
        } else {
            self.tell_peer(link, PeerEvent::SeedSent, shared);
        }
    }

    fn dial(&mut self, shared: &mut Shared) {
        let free = self.core.phase() == Phase::Unprotected && self.core.link().is_none();
        if !free || shared.now_ns < self.dial_ns {
            return;
        }
        // A connection that has not come to a Welcome by now is given up.
        for wire in self.wires.iter_mut().filter(|wire| !wire.dropped) {
            wire.dropped = true;
            wire.reading = false;
            shared.close(wire.conn, self.name);
        }
        self.dial_ns = shared.now_ns + 100 * MS;
        let Some(peer) = shared.some_other(self.name) else { return };
        let conn = shared.network.connect(self.name, peer);
        self.next_link += 1;
        let link = Link(self.next_link);
        self.wires.push(Wire { link, conn, decoder: FrameDecoder::new(), reading: true, dropped: false });
        if self.wires.len() > 3 {
            self.wires.remove(0);
        }
        self.send(link, FrameKind::Hello, &self.generation.0.to_le_bytes(), shared);
    }

    /// Looks at the arbiter now and then; what it shows is heard a little later.
    fn look(&self, shared: &mut Shared) {
        if !shared.random.chance(LOOKS) {
            return;
        }
        if let Some((generation, holder)) = shared.arbiter.latest() {
            shared.later(self.name, 0..=100 * MS, Input::Shown { generation, holder });
        }
    }

    fn arrival(&mut self, conn: Conn, arrival: Arrival, shared: &mut Shared) {
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.conn == conn) else {
            // Somebody takes us for a secondary.
            return shared.close(conn, self.name);
        };
        if !wire.reading {
            return;
        }
        let link = wire.link;
        let Arrival::Bytes(bytes) = arrival else {
            wire.reading = false;
            return self.tell_peer(link, PeerEvent::Lost(LossReason::Closed), shared);
        };
        assert_eq!(wire.decoder.feed(&bytes), bytes.len(), "the model's frames are short");
        while let Some(wire) = self.wires.iter_mut().find(|wire| wire.link == link && wire.reading) {
            let event = match wire.decoder.next() {
                Ok(None) => return,
                Ok(Some(frame)) => peer_event(frame.kind, &frame.body),
                Err(_) => PeerEvent::Lost(LossReason::Damaged),
            };
            wire.reading = !matches!(event, PeerEvent::Lost(_));
            self.tell_peer(link, event, shared);
        }
    }

    fn wire(&self, link: Link) -> Option<&Wire> {
        self.wires.iter().find(|wire| wire.link == link)
    }

    fn send(&mut self, link: Link, kind: FrameKind, body: &[u8], shared: &mut Shared) {
        if let Some(conn) = self.wire(link).map(|wire| wire.conn) {
            shared.send(conn, self.name, kind, body);
        }
    }
}

fn peer_event(kind: FrameKind, body: &[u8]) -> PeerEvent {
    let number = || body.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let event = match kind {
        FrameKind::Welcome => number().map(|window_bytes| PeerEvent::Ready { window_bytes }),
        FrameKind::SeedHeld => number().map(|position| PeerEvent::SeedHeld { position: Position(position) }),
        FrameKind::Heartbeat => Some(PeerEvent::Heard),
        FrameKind::Ack => Ack::decode(body).ok().map(|ack| PeerEvent::Acknowledged {
            received: ack.received,
            executed: ack.executed,
            executed_bytes: ack.executed_bytes,
        }),
        _ => None,
    };
    event.unwrap_or(PeerEvent::Lost(LossReason::Damaged))
}
