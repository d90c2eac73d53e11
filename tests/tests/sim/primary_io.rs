//! The threads around a primary's controller: they carry bytes, and decide nothing.

use std::collections::VecDeque;

use ftlog::{
    Ack, Condition, ExitKind, FrameDecoder, FrameKind, Generation, Health, Heartbeat, Position, StepEncoder,
    StepRef,
};
use protocol::LossReason;
use protocol::fence::Fence;
use protocol::primary::controller::{
    Attempt, Controller, Effect, Event, Fence as FenceEffect, Glance, Halt, Message, Notice, OnTrouble,
    Origin, Said, Setup, Sight, Stretch,
};
use protocol::primary::{Link, Pace, PeerEvent, Phase};

use crate::commands::Commands;
use crate::faults::MS;
use crate::guest::{Guest, OUTPUT_BYTES, Output};
use crate::host::{self, BATCH_STEPS, Clock, Input, Name, TICK_NS, Turn};
use crate::network::{Arrival, Conn};
use crate::oracle::Leave;
use crate::shared::{Failure, Shared};

/// Parts of a seed before its final frame.
const SEED_PARTS: u32 = 4;
/// How long a handshake may take.
const PATIENCE_NS: u64 = 400 * MS;

/// A connection, from the attempt on.
struct Wire {
    attempt: Attempt,
    conn: Conn,
    decoder: FrameDecoder,
    /// Until it is adopted there is none.
    link: Option<Link>,
    /// The attempt has not ended.
    greets: bool,
    /// We still read it. What a reader thread had read already may come after the link was dropped.
    reading: bool,
}

pub struct PrimaryIo {
    name: Name,
    clock: Clock,
    pub core: Controller<Output, Output>,
    pub effects: VecDeque<Effect<Output, Output>>,
    generation: Generation,
    guest: Guest,
    /// The gate holds nothing back.
    open: bool,
    pace: Pace,
    paused_for: Option<Link>,
    /// The connection whose acknowledgements opened the gate last.
    log_conn: Option<Conn>,
    log: VecDeque<(Position, Vec<u8>)>,
    batch: StepEncoder,
    since_ns: u64,
    said: Vec<(Position, Said<Output, Output>)>,
    /// After a takeover: what may not have left yet.
    repeat: Vec<Output>,
    taken_over: bool,
    wires: Vec<Wire>,
    pub fence: Fence,
    /// Writes that the disk has not taken yet.
    writes: VecDeque<Output>,
    pub commands: Commands,
    steps: u64,
    nudged: bool,
    /// For how many ticks the VM has stood, protected, without its secondary moving; and where that was.
    stood_ticks: u64,
    stood_at: Option<Position>,
}

impl PrimaryIo {
    pub fn create(name: Name, clock: Clock, shared: &Shared) -> Self {
        let origin = Origin::Starts { previous: Generation(0), after: None, yield_ns: 0 };
        Self::new(name, clock, origin, Guest::at_power_on(), shared)
    }

    /// `from_ns` is when this side may write the shared disk.
    pub fn take_over(
        name: Name,
        clock: Clock,
        generation: Generation,
        guest: Guest,
        repeat: Vec<Output>,
        from_ns: u64,
        shared: &Shared,
    ) -> Self {
        let mut io = Self::new(name, clock, Origin::TookOver { generation }, guest, shared);
        io.fence.open_from(from_ns);
        io.repeat = repeat;
        io.taken_over = true;
        io
    }

    fn new(name: Name, clock: Clock, origin: Origin, guest: Guest, shared: &Shared) -> Self {
        let setup = Setup {
            config: host::core_config(),
            holder: name.to_string(),
            origin,
            peer: Some("anybody".to_owned()),
            on_trouble: OnTrouble::Handover,
            position: guest.position,
        };
        let mut effects = Vec::new();
        let core = Controller::new(setup, clock.read_ns(shared.now_ns), &mut effects);
        Self {
            name,
            clock,
            core,
            effects: effects.into(),
            generation: Generation(0),
            guest,
            open: false,
            pace: Pace::Stopped,
            paused_for: None,
            log_conn: None,
            log: VecDeque::new(),
            batch: StepEncoder::new(guest.position.next()),
            since_ns: 0,
            said: Vec::new(),
            repeat: Vec::new(),
            taken_over: false,
            wires: Vec::new(),
            fence: Fence::default(),
            writes: VecDeque::new(),
            commands: Commands::default(),
            steps: 0,
            nudged: false,
            stood_ticks: 0,
            stood_at: None,
        }
    }

    pub fn input(&mut self, input: Input, shared: &mut Shared) -> Result<(), Failure> {
        match input {
            Input::Tick => self.tick(shared)?,
            Input::Run => self.run_vcpu(shared)?,
            Input::Answer { generation, outcome } => {
                self.tell(Event::Claimed { generation, outcome }, shared);
            }
            Input::Shown { generation, holder } => self.shown(generation, holder, shared),
            Input::Command(command) => {
                let asked = self.commands.ask(shared.now_ns);
                self.tell(Event::Asked { asked, command }, shared);
            }
            Input::Probed { attempt, free } => {
                let result = if free { Ok(()) } else { Err("busy".to_owned()) };
                self.tell(Event::Probed { attempt, result }, shared);
            }
            Input::GreetingOver { attempt } => self.greeting_over(attempt, shared),
            Input::SeedPart { link, part } => self.seed_part(link, part, shared),
            Input::Arrival { conn, arrival } => self.arrival(conn, arrival, shared),
            Input::Loaded { .. } => {}
        }
        Ok(())
    }

    fn tell(&mut self, event: Event<Output, Output>, shared: &mut Shared) {
        let mut effects = Vec::new();
        shared.say(|| format!("{} {event:?}", self.name));
        self.core.handle(event, self.clock.read_ns(shared.now_ns), &mut effects);
        self.effects.extend(effects);
    }

    fn tell_peer(&mut self, link: Link, event: PeerEvent, shared: &mut Shared) {
        self.tell(Event::Peer { link, event }, shared);
    }

    fn tick(&mut self, shared: &mut Shared) -> Result<(), Failure> {
        self.write_disk(shared)?;
        let glance = Glance {
            vcpu_busy: self.pace != Pace::Stopped && self.paused_for.is_none(),
            vcpu_progress: self.steps,
            vcpu_steps: self.steps,
            health: if shared.is_cut_off(self.name.host) { Health::NETWORK } else { Health::default() },
            write_waits: self.fence.is_wanted(),
            disks_idle: self.writes.is_empty(),
        };
        self.tell(Event::Tick(glance), shared);
        self.makes_progress()?;
        if self.core.take_dropped_outputs().is_empty() {
            return Ok(());
        }
        Err(Failure::bound(format!("{} had no room for an output", self.name)))
    }

    /// Property 5: a pair that says that it is protected does not stand for ever.
    fn makes_progress(&mut self) -> Result<(), Failure> {
        let stands = self.core.phase() == Phase::Protected && self.pace == Pace::Stopped;
        let moved = self.core.executed() != self.stood_at;
        self.stood_at = self.core.executed();
        self.stood_ticks = if stands && !moved { self.stood_ticks + 1 } else { 0 };
        if self.stood_ticks * TICK_NS <= host::core_config().stall_ns() + 1000 * MS {
            return Ok(());
        }
        Err(Failure::safety(5, format!("{} is protected and stands at {:?}", self.name, self.stood_at)))
    }

    pub fn effect(&mut self, effect: Effect<Output, Output>, shared: &mut Shared) -> Result<Turn, Failure> {
        shared.say(|| format!("{} does {effect:?}", self.name));
        match effect {
            Effect::Claim { generation, .. } => shared.ask_arbiter(self.name, generation),
            Effect::Look { .. } => shared.look(self.name),
            Effect::EnterGeneration { generation, .. } => {
                self.generation = generation;
                shared.oracle.enters(generation, self.name, self.guest, &shared.arbiter)?;
            }
            Effect::Connect { attempt, generation, .. } => self.connect(attempt, generation, shared),
            Effect::Probe { attempt, .. } => {
                let free = shared.random.chance(700_000);
                shared.later(self.name, MS..=300 * MS, Input::Probed { attempt, free });
            }
            Effect::Adopt { attempt, link } => {
                if let Some(wire) = self.wires.iter_mut().find(|wire| wire.attempt == attempt) {
                    wire.link = Some(link);
                }
                self.read_on(attempt, shared);
            }
            Effect::Reject { attempt } => self.close(|wire| wire.attempt == attempt, shared),
            Effect::StartSeed { link, .. } => {
                self.flush(shared);
                self.paused_for = Some(link);
                shared.later(self.name, MS..=5 * MS, Input::SeedPart { link, part: 0 });
            }
            Effect::Send { link, message } => self.send_message(link, message, shared),
            Effect::SendLog { link, through } => self.send_log(link, through, shared),
            Effect::ForgetLog { through } => {
                while self.log.pop_front_if(|(last, _)| *last <= through).is_some() {}
            }
            Effect::DropPeer { link, reason } => self.drop_peer(link, &reason, shared)?,
            Effect::Emit { output, .. } => self.emit(output, shared)?,
            Effect::Write(write) => self.writes.push_back(write),
            Effect::Fence(fence) => self.set_fence(fence, shared)?,
            Effect::Nudge => self.nudged = true,
            Effect::SetPace(pace) => {
                self.pace = pace;
                shared.stats.stops += u64::from(pace == Pace::Stopped);
            }
            Effect::Answer { asked, answer } => self.commands.answered(asked, &answer)?,
            Effect::Tell(Notice::LetGo) => shared.stats.detaches += 1,
            Effect::Tell(_) => {}
            Effect::Halt(halt) => return self.halt(&halt, shared),
        }
        Ok(Turn::Stay)
    }

    fn halt(&mut self, halt: &Halt, shared: &mut Shared) -> Result<Turn, Failure> {
        match halt {
            Halt::Elsewhere(_) => shared.stats.halts += 1,
            Halt::OnRequest | Halt::Unwell(_) => shared.stats.handovers += 1,
        }
        shared.oracle.gone(self.name);
        for wire in &self.wires {
            shared.close(wire.conn, self.name);
        }
        self.commands.all_answered()?;
        Ok(Turn::Idle)
    }

    /// Outputs that the controller lets leave.
    fn emit(&mut self, output: Output, shared: &mut Shared) -> Result<(), Failure> {
        let why = if self.open { Leave::Open } else { Leave::Held(self.log_conn) };
        shared.oracle.leaves(self.name, self.generation, output, why)?;
        shared.stats.outputs += 1;
        Ok(())
    }

    fn set_fence(&mut self, fence: FenceEffect, shared: &mut Shared) -> Result<(), Failure> {
        match fence {
            FenceEffect::Open => {
                self.open = true;
                self.fence.open();
                self.say_again(shared)?;
            }
            FenceEffect::Close => {
                self.open = false;
                self.fence.close();
            }
            FenceEffect::Extend(until_ns) => {
                self.fence.extend(until_ns);
                self.fence.take_wanted();
            }
            FenceEffect::Shut => self.fence.shut(),
        }
        Ok(())
    }

    fn say_again(&mut self, shared: &mut Shared) -> Result<(), Failure> {
        for output in std::mem::take(&mut self.repeat) {
            shared.oracle.leaves(self.name, self.generation, output, Leave::Open)?;
        }
        if std::mem::take(&mut self.taken_over) {
            shared.oracle.nothing_unsaid(self.generation, self.guest.position)?;
        }
        Ok(())
    }

    /// The shared disk takes what the fence lets pass.
    fn write_disk(&mut self, shared: &mut Shared) -> Result<(), Failure> {
        use protocol::fence::Verdict;
        let now_ns = self.clock.read_ns(shared.now_ns);
        while !self.writes.is_empty() && self.fence.verdict(now_ns) == Verdict::Yes {
            let Some(write) = self.writes.pop_front() else { break };
            shared.oracle.writes(self.name, self.generation, write)?;
            shared.stats.writes += 1;
        }
        Ok(())
    }

    fn drop_peer(&mut self, link: Link, reason: &LossReason, shared: &mut Shared) -> Result<(), Failure> {
        if self.paused_for == Some(link) {
            self.paused_for = None;
        }
        self.log.clear();
        let leak = shared.random.chance(300_000);
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.link == Some(link)) else { return Ok(()) };
        wire.reading &= leak;
        let conn = wire.conn;
        shared.close(conn, self.name);
        shared.honest(conn, reason)
    }

    fn run_vcpu(&mut self, shared: &mut Shared) -> Result<(), Failure> {
        self.write_disk(shared)?;
        if self.generation == Generation(0) || self.paused_for.is_some() {
            return Ok(());
        }
        let idle = shared.is_idle(self.name.host) && !std::mem::take(&mut self.nudged);
        let steps = match self.pace {
            _ if idle => 0,
            Pace::Full => shared.random.within(1..=6),
            Pace::Slow => 1,
            Pace::Stopped => 0,
        };
        for _ in 0..steps {
            self.step(shared);
            if self.batch.count() >= BATCH_STEPS {
                self.flush(shared);
            }
        }
        if steps == 0 || shared.random.chance(700_000) {
            self.flush(shared);
        }
        Ok(())
    }

    fn step(&mut self, shared: &mut Shared) {
        if self.batch.is_empty() {
            self.since_ns = self.clock.read_ns(shared.now_ns);
        }
        let input = shared.random.next();
        self.guest.step(input);
        self.steps += 1;
        let step = StepRef {
            time_ns: input,
            exit: ExitKind::Pio,
            digest: self.guest.digest(),
            entries: None,
            events: &[],
            registers: None,
        };
        self.batch.push(step).expect("a model step is small");
        if let Some(output) = self.guest.output() {
            let said = Said::Output { bytes: OUTPUT_BYTES, output };
            self.said.push((output.position, said));
        }
        if let Some(write) = self.guest.write() {
            self.said.push((write.position, Said::Write(write)));
        }
        shared.oracle.executed(self.generation, self.name, &self.guest);
    }

    /// Hands the batch over.
    fn flush(&mut self, shared: &mut Shared) {
        if self.batch.is_empty() {
            return;
        }
        let through = self.guest.position;
        let body = self.batch.body().to_vec();
        let bytes = body.len() as u64;
        self.batch = StepEncoder::new(through.next());
        self.log.push_back((through, body));
        let (since_ns, said_ns) = (self.since_ns, self.clock.read_ns(shared.now_ns));
        let said = std::mem::take(&mut self.said);
        self.tell(Event::Recorded(Stretch { through, bytes, since_ns, said_ns, said }), shared);
    }

    fn send_log(&mut self, link: Link, through: Position, shared: &mut Shared) {
        while let Some((_, body)) = self.log.pop_front_if(|(last, _)| *last <= through) {
            if !shared.batch_is_lost(self.log_conn) {
                self.send(link, FrameKind::Steps, &body, shared);
            }
        }
    }

    fn send_message(&mut self, link: Link, message: Message, shared: &mut Shared) {
        match message {
            Message::SeedDone => {
                self.send(link, FrameKind::SeedDone, &[], shared);
                self.log_conn = self.wire(link).map(|wire| wire.conn);
                self.paused_for = None;
            }
            Message::Heartbeat { position, released, lease_ns, stalled_ns, health } => {
                let condition = Condition { stalled_ns, health };
                let body = Heartbeat { position, released, time_ns: 0, lease_ns, condition }.encode();
                self.send(link, FrameKind::Heartbeat, &body, shared);
            }
            Message::Detach => self.send(link, FrameKind::Detach, &[], shared),
            Message::Refuse(_) => self.send(link, FrameKind::Refuse, &[], shared),
        }
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

    fn connect(&mut self, attempt: Attempt, generation: Generation, shared: &mut Shared) {
        shared.later(self.name, PATIENCE_NS..=PATIENCE_NS, Input::GreetingOver { attempt });
        let Some(peer) = shared.some_other(self.name) else { return };
        let conn = shared.network.connect(self.name, peer);
        let decoder = FrameDecoder::new();
        self.wires.push(Wire { attempt, conn, decoder, link: None, greets: true, reading: true });
        if self.wires.len() > 6 {
            self.wires.remove(0);
        }
        shared.send(conn, self.name, FrameKind::Hello, &generation.0.to_le_bytes());
    }

    /// A handshake takes no longer than this, whatever has come of it.
    fn greeting_over(&mut self, attempt: Attempt, shared: &mut Shared) {
        let ours = |wire: &&mut Wire| wire.attempt == attempt;
        let ended = self.wires.iter_mut().find(ours).is_none_or(|wire| std::mem::take(&mut wire.greets));
        if ended {
            self.close(|wire| wire.attempt == attempt, shared);
            let result = Err("no answer".to_owned());
            self.tell(Event::Connected { attempt, result }, shared);
        }
    }

    fn shown(&mut self, generation: Generation, holder: Name, shared: &mut Shared) {
        if holder == self.name {
            return self.tell(Event::Looked(Sight::Ours), shared);
        }
        if generation > self.core.generation() {
            shared.oracle.lost(self.name);
        }
        let holder = holder.to_string();
        self.tell(Event::Looked(Sight::Later { generation, holder }), shared);
    }

    fn arrival(&mut self, conn: Conn, arrival: Arrival, shared: &mut Shared) {
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.conn == conn) else {
            // Somebody takes us for a secondary.
            return shared.close(conn, self.name);
        };
        if !wire.reading {
            return;
        }
        let (attempt, link) = (wire.attempt, wire.link);
        let Arrival::Bytes(bytes) = arrival else {
            wire.reading = false;
            match link {
                Some(link) => self.tell_peer(link, PeerEvent::Lost(LossReason::Closed), shared),
                None => self.greeting_over(attempt, shared),
            }
            return;
        };
        assert_eq!(wire.decoder.feed(&bytes), bytes.len(), "the model's frames are short");
        self.read_on(attempt, shared);
    }

    /// What has come and can be understood now: before a connection is adopted, its Welcome only.
    fn read_on(&mut self, attempt: Attempt, shared: &mut Shared) {
        while let Some(wire) = self.wires.iter_mut().find(|wire| wire.attempt == attempt && wire.reading) {
            if wire.link.is_none() && !wire.greets {
                return;
            }
            let frame = match wire.decoder.next() {
                Ok(None) => return,
                Ok(Some(frame)) => Some(frame),
                Err(_) => None,
            };
            let Some(link) = wire.link else {
                wire.greets = false;
                let welcome = frame.filter(|frame| frame.kind == FrameKind::Welcome);
                let window = welcome.and_then(|frame| frame.body.first_chunk().copied());
                let result = window.map(u64::from_le_bytes).ok_or_else(|| "no Welcome".to_owned());
                return self.tell(Event::Connected { attempt, result }, shared);
            };
            let event = match frame {
                Some(frame) if frame.kind == FrameKind::Refuse => {
                    Event::PeerRefuses { link, reason: "it gives up".to_owned() }
                }
                Some(frame) => Event::Peer { link, event: peer_event(frame.kind, &frame.body) },
                None => Event::Peer { link, event: PeerEvent::Lost(LossReason::Damaged) },
            };
            wire.reading =
                !matches!(event, Event::PeerRefuses { .. } | Event::Peer { event: PeerEvent::Lost(_), .. });
            self.tell(event, shared);
        }
    }

    fn close(&mut self, which: impl Fn(&Wire) -> bool, shared: &mut Shared) {
        for wire in self.wires.iter_mut().filter(|wire| which(wire)) {
            wire.reading = false;
            shared.close(wire.conn, self.name);
        }
    }

    fn wire(&self, link: Link) -> Option<&Wire> {
        self.wires.iter().find(|wire| wire.link == Some(link))
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
        FrameKind::SeedHeld => number().map(|position| PeerEvent::SeedHeld { position: Position(position) }),
        FrameKind::Heartbeat => {
            Heartbeat::decode(body).ok().map(|heartbeat| PeerEvent::Condition(heartbeat.condition))
        }
        FrameKind::Ack => Ack::decode(body).ok().map(|ack| PeerEvent::Acknowledged {
            received: ack.received,
            executed: ack.executed,
            executed_bytes: ack.executed_bytes,
            condition: ack.condition,
        }),
        _ => None,
    };
    event.unwrap_or(PeerEvent::Lost(LossReason::Damaged))
}
