//! The threads around a primary's controller: they carry bytes, and decide nothing.

use std::collections::VecDeque;

use ftlog::{Delta, FrameKind, Generation, Health, Position, StepEncoder};
use protocol::arbiter::ClaimOutcome;
use protocol::fence::Fence;
use protocol::primary::controller::{
    Controller, Effect, Event, Glance, Halt, Notice, OnTrouble, Origin, Said, Setup, Sight, Stretch,
};
use protocol::primary::{Link, Pace, PeerEvent, Phase};

use crate::commands::Commands;
use crate::failure::Failure;
use crate::faults::MS;
use crate::guest::{Guest, Output};
use crate::input::Input;
use crate::network::Conn;
use crate::process::{self, Name, TICK_NS};
use crate::shared::Shared;

mod outside;
mod vcpu;
mod wire;
mod wires;

use wire::Wire;

/// What a role turns into by an effect.
pub enum Turn {
    Stay,
    Idle,
    Primary(Box<PrimaryIo>),
}

/// Of one stretch: what leads to its first step, if that is needed, and its steps.
type Frames = Vec<(FrameKind, Vec<u8>)>;

/// What the vCPU thread tells the link thread.
enum Letter {
    Recorded(Stretch<Output, Output>, Frames),
    SeedStarted(Link, Position),
    SeedSent(Link),
    Ended,
}

pub struct PrimaryIo {
    name: Name,
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
    log: VecDeque<(Position, Frames)>,
    batch: StepEncoder,
    /// What leads to its first step.
    delta: Option<Delta>,
    since_ns: u64,
    said: Vec<(Position, Said<Output, Output>)>,
    /// What the vCPU thread has told and the link thread has not read, with its bytes.
    mailbox: VecDeque<(Letter, u64)>,
    under_way_bytes: u64,
    /// The process was asked to end; the vCPU thread has.
    stopping: bool,
    ended: bool,
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
    /// For how long the VM has stood, protected, without its secondary moving; and where that was.
    stood_ns: u64,
    looked_ns: u64,
    stood_at: Option<Position>,
}

impl PrimaryIo {
    pub fn create(name: Name, shared: &Shared) -> Self {
        let origin = Origin::Starts { previous: Generation(0), after: None, yield_ns: 0 };
        Self::new(name, origin, Guest::at_power_on(), shared)
    }

    /// `from_ns` is when this side may write the shared disk.
    pub fn take_over(
        name: Name,
        generation: Generation,
        guest: Guest,
        repeat: Vec<Output>,
        from_ns: u64,
        shared: &Shared,
    ) -> Self {
        let mut io = Self::new(name, Origin::TookOver { generation, writes_from_ns: from_ns }, guest, shared);
        io.fence.open_from(from_ns);
        io.repeat = repeat;
        io.taken_over = true;
        io
    }

    fn new(name: Name, origin: Origin, guest: Guest, shared: &Shared) -> Self {
        let setup = Setup {
            config: process::core_config(),
            holder: name.to_string(),
            origin,
            peer: Some("anybody".to_owned()),
            on_trouble: OnTrouble::Handover,
            position: guest.position,
        };
        let mut effects = Vec::new();
        let core = Controller::new(setup, shared.clock_ns(name.host), &mut effects);
        Self {
            name,
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
            delta: None,
            since_ns: 0,
            said: Vec::new(),
            mailbox: VecDeque::new(),
            under_way_bytes: 0,
            stopping: false,
            ended: false,
            repeat: Vec::new(),
            taken_over: false,
            wires: Vec::new(),
            fence: Fence::default(),
            writes: VecDeque::new(),
            commands: Commands::default(),
            steps: 0,
            nudged: false,
            stood_ns: 0,
            looked_ns: shared.now_ns,
            stood_at: None,
        }
    }

    pub fn input(&mut self, input: Input, shared: &mut Shared) -> Result<(), Failure> {
        match input {
            Input::Tick => self.tick(shared)?,
            Input::Run => self.run_vcpu(shared)?,
            Input::Letters => self.read_letter(shared),
            Input::Stop => self.stopping = true,
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
        self.core.handle(event, shared.clock_ns(self.name.host), &mut effects);
        self.effects.extend(effects);
    }

    fn tell_peer(&mut self, link: Link, event: PeerEvent, shared: &mut Shared) {
        self.tell(Event::Peer { link, event }, shared);
    }

    fn tick(&mut self, shared: &mut Shared) -> Result<(), Failure> {
        self.write_disk(shared)?;
        let glance = Glance {
            vcpu_busy: self.pace != Pace::Stopped && self.paused_for.is_none() && !self.stopping,
            vcpu_progress: self.steps,
            vcpu_steps: self.steps,
            health: if shared.is_cut_off(self.name.host) { Health::NETWORK } else { Health::default() },
            write_waits: self.fence.is_wanted(),
            disks_idle: self.writes.is_empty(),
        };
        self.tell(Event::Tick(glance), shared);
        self.makes_progress(shared)?;
        if self.core.take_dropped_outputs().is_empty() {
            return Ok(());
        }
        Err(Failure::bound(format!("{} had no room for an output", self.name)))
    }

    /// It was told to end, and does when all that was said has left.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Property 5: a pair that says that it is protected does not stand for ever.
    fn makes_progress(&mut self, shared: &Shared) -> Result<(), Failure> {
        let stands = self.core.phase() == Phase::Protected && self.pace == Pace::Stopped;
        let moved = self.core.executed() != self.stood_at;
        self.stood_at = self.core.executed();
        let now_ns = shared.now_ns;
        // One that has slept begins anew: it has not seen what its peer did, and why that stood may be over.
        let passed_ns = now_ns - std::mem::replace(&mut self.looked_ns, now_ns);
        let slept = passed_ns > 10 * TICK_NS;
        self.stood_ns = if stands && !moved && !slept { self.stood_ns + passed_ns } else { 0 };
        let config = process::core_config();
        // One that says that it moves, or has nothing to do because the last log was lost, is believed for longer.
        let lost = self.log_conn.is_some_and(|conn| shared.lost_batch_on(conn));
        let believed = shared.is_any_endless() || lost;
        let patience_ns = if believed { config.standstill_ns() } else { config.stall_ns() };
        if self.stood_ns <= patience_ns + 1000 * MS {
            return Ok(());
        }
        Err(Failure::safety(5, format!("{} is protected and stands at {:?}", self.name, self.stood_at)))
    }

    pub fn effect(&mut self, effect: Effect<Output, Output>, shared: &mut Shared) -> Result<Turn, Failure> {
        shared.say(|| format!("{} does {effect:?}", self.name));
        let threadless = shared.is_threadless(self.name.host);
        match effect {
            Effect::Claim { generation, .. } if threadless => {
                let outcome = ClaimOutcome::Unavailable { reason: "no thread".to_owned() };
                self.tell(Event::Claimed { generation, outcome }, shared);
            }
            Effect::Claim { generation, after, .. } => shared.ask_arbiter(self.name, generation, after),
            Effect::Look { .. } if threadless => {
                self.tell(Event::Looked(Sight::Unclear("no thread".to_owned())), shared);
            }
            Effect::Look { .. } => shared.look(self.name),
            Effect::EnterGeneration { generation, .. } => {
                self.generation = generation;
                shared.oracle.enters(generation, self.name, self.guest, &shared.arbiter.register)?;
            }
            Effect::Connect { attempt, .. } if threadless => {
                self.tell(Event::Connected { attempt, result: Err("no thread".to_owned()) }, shared);
            }
            Effect::Connect { attempt, generation, lease_ns, .. } => {
                self.connect(attempt, generation, lease_ns, shared);
            }
            Effect::Probe { attempt, .. } if threadless => {
                self.tell(Event::Probed { attempt, result: Err("no thread".to_owned()) }, shared);
            }
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
            // The disks cannot be compared.
            Effect::StartSeed { link, .. } if threadless => {
                self.tell(Event::SeedFailed { link, reason: "no thread".to_owned() }, shared);
            }
            Effect::StartSeed { link, .. } => {
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
            Effect::Tell(Notice::Distrusted { .. }) => shared.stats.distrusts += 1,
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

    /// The process ends in order: what waited for the vCPU thread and its last words is over.
    pub fn end(&mut self, shared: &mut Shared) -> Result<(), Failure> {
        shared.stats.ends += 1;
        if self.core.is_alone() {
            shared.oracle.ended(self.name, self.generation, self.guest.position)?;
        }
        shared.oracle.gone(self.name);
        self.close(|_| true, shared);
        Ok(())
    }

    fn shown(&mut self, generation: Generation, holder: String, shared: &mut Shared) {
        if holder == self.name.to_string() {
            return self.tell(Event::Looked(Sight::Ours), shared);
        }
        if generation > self.core.generation() {
            shared.oracle.lost(self.name);
        }
        self.tell(Event::Looked(Sight::Later { generation, holder }), shared);
    }
}
