//! The effects of the controller, done.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use devices::{DiskRequest, Output};
use ftlog::{Condition, FrameKind, Generation, Heartbeat, Message as _, Position, Refuse, Welcome};
use machine::transfer::Source;
use protocol::primary::{
    Link,
    controller::{Attempt, Effect, Event, Fence, Halt, Message},
};
use replay::trace::{self, Stage};

use super::{
    answers::Answers,
    errands::Errands,
    figures::Figures,
    orders::{Halted, Orders},
    progress::SeedProgress,
    seeding::Seeding,
    wire::{RegisterRing, Wire},
};
use crate::{
    control::{Board, Role},
    host::clock::boot_ns,
    identity::random,
    link::{Site, connection::Connection},
};

/// How a protected VM's secondary is called in `status` when something ails it.
pub const SECONDARY: &str = "secondary";

/// All that the effects are done with.
pub struct Hands {
    pub site: Site,
    pub errands: Errands,
    pub orders: Arc<Orders>,
    pub answers: Answers,
    pub figures: Figures,
    pub registers: RegisterRing,
    pub wire: Option<Wire>,
    /// What comes before the stop of a seed.
    pub seeding: Option<Seeding>,
    /// What the VM's RAM is sent from.
    pub source: Source,
    /// Connections that the controller has not decided on.
    pub reached: BTreeMap<Attempt, (Connection, Welcome)>,
    /// Log that is not sent.
    pub log: VecDeque<(Position, Vec<u8>)>,
    /// Log up to here is queued since the last flush.
    pub queued: Option<Position>,
    /// Virtual time of what was recorded last, ns.
    pub time_ns: u64,
    /// When the VM ran live after a takeover, until it has said something.
    pub awaiting_first_output: Option<u64>,
    /// What is found out while effects are done, for the controller to hear.
    pub news: VecDeque<Event<Output, DiskRequest>>,
    pub protected: bool,
    /// Since when it is not any more, or not yet after a takeover, ns of the host's clock.
    pub unprotected_since_ns: Option<u64>,
    /// The secondary was told that the VM has ended.
    pub ended: bool,
}

impl Hands {
    /// Does one thing.
    pub fn carry_out(&mut self, effect: Effect<Output, DiskRequest>) {
        match effect {
            Effect::Claim { generation, after, yields } => self.errands.claim(generation, after, yields),
            Effect::Look { ours } => self.errands.look(ours),
            Effect::EnterGeneration { generation, begins } => self.enter(generation, begins),
            Effect::Connect { attempt, to, generation, lease_ns } => {
                self.errands.connect(attempt, to, generation, lease_ns);
            }
            Effect::Probe { attempt, to, generation } => self.errands.probe(attempt, to, generation),
            Effect::Adopt { attempt, link } => {
                let reached = self.reached.remove(&attempt);
                self.wire = reached.map(|(connection, _)| Wire {
                    link,
                    connection,
                    streaming: false,
                    farewell: false,
                });
            }
            Effect::Reject { attempt } => drop(self.reached.remove(&attempt)),
            Effect::StartSeed { link, generation } => self.start_seed(link, generation),
            Effect::Send { link, message } => self.send(link, message),
            Effect::SendLog { link, through } => self.send_log(link, through),
            Effect::ForgetLog { through } => {
                while self.log.pop_front_if(|(last, _)| *last <= through).is_some() {}
            }
            Effect::DropPeer { link, .. } => self.drop_peer(link),
            Effect::Emit { output, position, waited_ns } => self.emit(output, position, waited_ns),
            Effect::Write(request) => self.site.outlets.disks.perform(request),
            Effect::Fence(fence) => self.set_fence(fence),
            Effect::Nudge => self.site.inbox.nudge(),
            Effect::SetPace(pace) => self.orders.set_pace(pace),
            Effect::Answer { asked, answer } => self.answers.give(asked, answer),
            Effect::Tell(notice) => self.tell(notice),
            Effect::Halt(halt) => self.halt(halt),
        }
    }

    /// Writes what waits for the connection, as much as it takes now.
    pub fn flush(&mut self) {
        let Some(wire) = &mut self.wire else { return };
        let link = wire.link;
        if let Err(error) = wire.connection.flush() {
            let event = protocol::primary::PeerEvent::Lost(error.into());
            self.news.push_back(Event::Peer { link, event });
        }
        if let Some(through) = self.queued.take() {
            trace::mark(Stage::Sent, through);
        }
    }

    fn enter(&mut self, generation: Generation, begins: bool) {
        self.errands.stamp(generation, begins);
        self.site.board.update(|status| {
            status.role = Role::Primary;
            status.generation = generation.0;
        });
        self.site.board.notice(format!("running as the primary, generation {generation}"));
    }

    /// Compares the disks, if there are any to be compared, then sends memory.
    fn start_seed(&mut self, link: Link, generation: Generation) {
        match Seeding::of_disks(link, generation, &self.site.outlets.disks) {
            Ok(Some(seeding)) => self.seeding = Some(seeding),
            Ok(None) => self.send_memory(link, generation),
            Err(error) => {
                let reason = format!("the disks cannot be compared: {error}");
                self.news.push_back(Event::SeedFailed { link, reason });
            }
        }
    }

    /// Sends memory while the guest runs, and stops it for the rest when that is little.
    pub fn send_memory(&mut self, link: Link, generation: Generation) {
        let (disks, source) = (&self.site.outlets.disks, self.source.clone());
        let seeding = random().and_then(|key| {
            let manifest = self.errands.identity.manifest(generation, u64::from_ne_bytes(key));
            Seeding::of_memory(link, disks, source, manifest, self.site.channel)
        });
        match seeding {
            Ok(seeding) => {
                self.seeding = Some(seeding);
                self.figures.seed = Some(SeedProgress::begin());
            }
            Err(error) => {
                let reason = format!("the memory cannot be sent: {error}");
                self.news.push_back(Event::SeedFailed { link, reason });
            }
        }
    }

    fn send(&mut self, link: Link, message: Message) {
        let Some(wire) = self.wire.as_mut().filter(|wire| wire.link == link) else { return };
        match message {
            Message::SeedDone => {
                wire.connection.send(FrameKind::SeedDone, &[]);
                wire.streaming = true;
                self.figures.begin_again();
                self.orders.end_seed();
            }
            Message::Heartbeat { position, released, lease_ns, stalled_ns, health } => {
                let condition = Condition { stalled_ns, health };
                let beat = Heartbeat { position, released, time_ns: self.time_ns, lease_ns, condition };
                wire.connection.send(FrameKind::Heartbeat, &beat.encode());
            }
            Message::Detach => {
                wire.connection.send(FrameKind::Detach, &[]);
                wire.farewell = true;
            }
            Message::Refuse(reason) => {
                if let Ok(body) = Refuse::new(reason).encode() {
                    wire.connection.send(FrameKind::Refuse, &body);
                    wire.farewell = true;
                }
            }
        }
    }

    /// It is flushed soon: the guest's outputs wait for its acknowledgement.
    fn send_log(&mut self, link: Link, through: Position) {
        while let Some((_, body)) = self.log.pop_front_if(|(last, _)| *last <= through) {
            if let Some(wire) = self.wire.as_mut().filter(|wire| wire.link == link) {
                wire.connection.send(FrameKind::Steps, &body);
                self.figures.log_bytes += body.len() as u64;
                self.queued = Some(through);
            }
        }
    }

    fn drop_peer(&mut self, link: Link) {
        if let Some(wire) = self.wire.take_if(|wire| wire.link == link)
            && wire.farewell
        {
            wire.connection.part();
        }
        if std::mem::take(&mut self.protected) {
            self.unprotected_since_ns = Some(boot_ns());
        }
        self.seeding = None;
        self.log.clear();
        self.figures.seed = None;
        self.orders.end_seed();
        self.site.outlets.disks.end_bases();
        self.site.board.well(SECONDARY);
    }

    fn emit(&mut self, output: Output, position: Position, waited_ns: u64) {
        trace::mark(Stage::Released, position);
        if self.protected {
            self.figures.committed(waited_ns);
        }
        if let Output::Reset(cause) = &output {
            self.site.board.notice_once(cause.to_string());
        }
        let ends = matches!(output, Output::PowerOff(_));
        self.site.outlets.emit(output);
        trace::mark(Stage::Emitted, position);
        if ends {
            self.say_end();
        }
        if let Some(live_ns) = self.awaiting_first_output.take() {
            note_first_output(&self.site.board, live_ns);
        }
    }

    /// All that the guest has said has left: the secondary need not say it again.
    fn say_end(&mut self) {
        if let Some(wire) = &mut self.wire {
            wire.connection.send(FrameKind::End, &[]);
            self.ended = true;
        }
        self.flush();
    }

    fn set_fence(&mut self, fence: Fence) {
        let disks = &self.site.outlets.disks;
        match fence {
            Fence::Open => disks.fence().open(),
            Fence::Close => return disks.fence().close(),
            Fence::Shut => disks.fence().shut(),
            Fence::Extend(until_ns) => {
                disks.fence().extend(until_ns);
                if !disks.fence().take_wanted() {
                    return;
                }
            }
        }
        disks.look_at_fence();
    }

    fn halt(&mut self, halt: Halt) {
        let halted = match halt {
            Halt::Elsewhere(reason) => Halted::Elsewhere(reason.to_string()),
            Halt::OnRequest => Halted::OnRequest,
            Halt::Unwell(health) => Halted::Unwell(health),
        };
        self.site.board.notice(halted.to_string());
        self.orders.halt(halted);
    }
}

/// The VM has said the first thing after it went live.
fn note_first_output(board: &Board, live_ns: u64) {
    let after_ms = (boot_ns() - live_ns) as f64 / 1e6;
    board.update(|status| {
        if let Some(takeover) = &mut status.takeover {
            takeover.first_output_ms = Some(after_ms);
        }
    });
}
