//! The effects of the controller, done.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use devices::{DiskRequest, Output};
use ftlog::{
    Condition, Delta, Frame, FrameKind, Generation, Heartbeat, Message as _, PageDigests, Position, Refuse,
    Welcome,
};
use machine::transfer::{Source, Theirs};
use protocol::{
    LossReason,
    primary::{
        Link,
        controller::{Attempt, Effect, Event, Fence, Halt, Message},
    },
};
use replay::trace::{self, Stage};

use super::{
    answers::Answers,
    errands::Errands,
    figures::Figures,
    followed::Followed,
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

/// Log that is not sent.
pub struct Unsent {
    /// The position of the last step.
    pub through: Position,
    /// What leads to the first, if that is a forced position.
    pub delta: Option<Delta>,
    /// The body of a `Steps` frame.
    pub steps: Vec<u8>,
    /// Behind it the secondary is asked what its memory holds, with this key.
    pub asks: Option<u64>,
}

/// All that the effects are done with.
pub struct Hands {
    pub site: Site,
    pub errands: Errands,
    pub orders: Arc<Orders>,
    pub followed: Arc<Followed>,
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
    pub log: VecDeque<Unsent>,
    /// What the secondary's memory holds, as far as it has answered.
    pub told: Option<Theirs>,
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
                while self.log.pop_front_if(|unsent| unsent.through <= through).is_some() {}
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
        while let Some(unsent) = self.log.pop_front_if(|unsent| unsent.through <= through) {
            let Unsent { delta, steps, asks, .. } = unsent;
            let Some(wire) = self.wire.as_mut().filter(|wire| wire.link == link) else { continue };
            for (kind, body) in delta.iter().flat_map(Delta::frames) {
                wire.connection.send(kind, &body);
            }
            wire.connection.send(FrameKind::Steps, &steps);
            self.figures.log_bytes += steps.len() as u64 + delta.as_ref().map_or(0, Delta::bytes);
            self.queued = Some(through);
            asks.into_iter().for_each(|key| self.send_question(key));
        }
    }

    /// Asks the secondary what its memory holds when it has executed all that was recorded.
    pub fn ask_pages(&mut self) {
        // A secondary that cannot be asked is of no use to a guest that waits for the answer.
        let key = match random() {
            Ok(key) => u64::from_ne_bytes(key),
            Err(error) => return tracing::warn!(%error, "no key for digests: they are not asked for"),
        };
        match self.log.back_mut() {
            Some(unsent) => unsent.asks = Some(key),
            None => self.send_question(key),
        }
    }

    fn send_question(&mut self, key: u64) {
        let Some(wire) = &mut self.wire else { return };
        self.figures.deltas.asked();
        self.told = Some(Theirs { key, pages: Vec::new() });
        wire.connection.send(FrameKind::AskPages, &key.to_le_bytes());
    }

    /// Takes what it answers.
    pub fn hear_pages(&mut self, frame: &Frame) -> Result<(), LossReason> {
        let digests = PageDigests::decode(&frame.body).map_err(|_| LossReason::Damaged)?;
        let mut told = self.told.take().ok_or(LossReason::Damaged)?;
        let last = digests.last;
        if !told.add(digests, self.source.page_count()) {
            return Err(LossReason::Damaged);
        }
        match last {
            true => self.followed.learn(told, self.site.outlets.disks.comparison()),
            false => self.told = Some(told),
        }
        Ok(())
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
        self.told = None;
        self.followed.end();
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
