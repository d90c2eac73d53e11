//! The link thread: hears the peer, the vCPU thread, the arbiter and the operator, tells the controller, and does what
//! that asks.

use std::{thread, time::Duration};

use devices::{DiskRequest, Output};
use ftlog::{Frame, FrameKind, Position};
use protocol::{
    LossReason,
    primary::{
        Link, PeerEvent,
        controller::{Controller, Effect, Event, Glance, Said, Stretch as Recorded},
    },
};
use replay::trace::{self, Stage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    hands::Hands,
    messages::{FromVcpu, Message, Stretch},
    resync::{self, Resync},
    wire,
};
use crate::{
    host::{
        checkup::Checkup,
        clock::boot_ns,
        pulse::{Beat, Pulse},
    },
    link::{budget::Budget, mailbox::Letters},
};

/// Above this much of a seed unsent no more of it is taken.
const MAX_UNSENT: usize = 1 << 20;
/// How often everything is looked at when it cannot be waited for.
const POLL_AGAIN: Duration = Duration::from_millis(1);
/// Letters taken between two looks at the connection.
const LETTERS_AT_ONCE: usize = 64;

/// What it owns beside its controller and its hands.
pub struct Ears {
    pub letters: Letters<Message>,
    pub vcpu_letters: Letters<FromVcpu>,
    /// How much the vCPU thread may have under way to this one.
    pub budget: Budget,
    pub pulse: Pulse,
    pub tally: machine::Tally,
}

/// All of it.
pub struct LinkThread {
    pub controller: Controller<Output, DiskRequest>,
    pub hands: Hands,
    pub ears: Ears,
    beat: Beat,
    beat_ns: u64,
    checkup: Checkup,
}

/// Who has something to say.
#[derive(Default)]
struct Ready {
    letters: bool,
    vcpu: bool,
    connection: bool,
    resync: bool,
}

impl LinkThread {
    /// A thread whose controller has asked for `first`.
    pub fn new(
        controller: Controller<Output, DiskRequest>,
        hands: Hands,
        ears: Ears,
        first: Vec<Effect<Output, DiskRequest>>,
    ) -> Self {
        let mut thread =
            Self { controller, hands, ears, beat: Beat::default(), beat_ns: 0, checkup: Checkup::default() };
        first.into_iter().for_each(|effect| thread.hands.carry_out(effect));
        thread
    }

    /// Runs until the vCPU thread has ended and what the guest said last has left or cannot.
    pub fn run(&mut self) -> anyhow::Result<()> {
        self.report();
        while !self.controller.is_done() {
            let ready = self.wait()?;
            trace::mark(Stage::PrimaryWoken, Position(0));
            // What the peer said comes before the clock: after a pause of this process it may show that all is well.
            if ready.connection || self.is_comparing_slowly() {
                self.hear_peer();
            }
            self.read_letters(&ready);
            if ready.resync {
                self.read_resync();
            }
            let glance = self.glance();
            self.tell(Event::Tick(glance));
            self.hands.flush();
            self.tell_news();
            self.report();
        }
        Ok(())
    }

    fn wait(&self) -> anyhow::Result<Ready> {
        let timeout = Timespec::try_from(Duration::from_nanos(self.hands.site.config.heartbeat_ns()))?;
        let mut watched = vec![PollFd::from_borrowed_fd(self.ears.letters.descriptor(), PollFlags::IN)];
        let vcpu = (!self.is_choked()).then(|| {
            watched.push(PollFd::from_borrowed_fd(self.ears.vcpu_letters.descriptor(), PollFlags::IN));
            watched.len() - 1
        });
        let connection = self.hands.wire.as_ref().and_then(|wire| {
            let interest = match wire.connection.interest() {
                interest if self.is_comparing_slowly() => interest - PollFlags::IN,
                interest => interest,
            };
            if interest.is_empty() {
                return None;
            }
            watched.push(PollFd::new(&wire.connection, interest));
            Some(watched.len() - 1)
        });
        let resync = self.resync_to_hear().map(|resync| {
            watched.push(PollFd::from_borrowed_fd(resync.descriptor(), PollFlags::IN));
            watched.len() - 1
        });
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Ready::default()),
            // Such as that the host has no memory now, or allows fewer descriptors than these. Nothing here blocks, so
            // all of them are looked at.
            Err(_) => {
                thread::sleep(POLL_AGAIN);
                return Ok(Ready { letters: true, vcpu: vcpu.is_some(), connection: true, resync: true });
            }
        }
        let is_ready = |index: usize| !watched[index].revents().is_empty();
        Ok(Ready {
            letters: is_ready(0),
            vcpu: vcpu.is_some_and(is_ready),
            connection: connection.is_some_and(is_ready),
            resync: resync.is_some_and(is_ready),
        })
    }

    /// How this side does. The vCPU thread is looked at a few times between two heartbeats, not at each wake-up.
    fn glance(&mut self) -> Glance {
        let now_ns = boot_ns();
        if now_ns - self.beat_ns >= self.hands.site.config.heartbeat_ns() / 4 {
            (self.beat, self.beat_ns) = (self.ears.pulse.beat(), now_ns);
            self.hands.orders.kick_out_if_halted();
        }
        let outlets = &self.hands.site.outlets;
        Glance {
            vcpu_busy: self.beat.busy || self.hands.site.inbox.is_waited_for(),
            vcpu_progress: self.beat.progress,
            vcpu_steps: self.beat.steps,
            health: self.checkup.health(outlets, now_ns),
            write_waits: outlets.disks.fence().is_wanted(),
            disks_idle: outlets.disks.is_idle(),
        }
    }

    /// Tells the controller and does what it asks.
    fn tell(&mut self, event: Event<Output, DiskRequest>) {
        self.tell_one(event);
        self.tell_news();
    }

    fn tell_one(&mut self, event: Event<Output, DiskRequest>) {
        let mut asked = Vec::new();
        self.controller.handle(event, boot_ns(), &mut asked);
        asked.into_iter().for_each(|effect| self.hands.carry_out(effect));
    }

    /// And what was found out while that was done.
    fn tell_news(&mut self) {
        while let Some(event) = self.hands.news.pop_front() {
            self.tell_one(event);
        }
    }

    fn report(&mut self) {
        for full in self.controller.take_dropped_outputs() {
            tracing::warn!("an output is dropped: {full}");
        }
        let Hands { figures, site, time_ns, .. } = &mut self.hands;
        figures.report(site, &self.controller, &self.ears.tally, *time_ns);
    }

    fn read_letters(&mut self, ready: &Ready) {
        if ready.letters {
            self.ears.letters.acknowledge();
            while let Some(letter) = self.ears.letters.next() {
                self.read(letter);
            }
        }
        if ready.vcpu {
            self.ears.vcpu_letters.acknowledge();
            self.read_vcpu_letters();
        }
    }

    fn read_vcpu_letters(&mut self) {
        for _ in 0..LETTERS_AT_ONCE {
            if self.is_choked() {
                break;
            }
            let Some(letter) = self.ears.vcpu_letters.next() else { return };
            self.read_from_vcpu(letter);
        }
        // There may be more: come back after a look at the connection.
        self.ears.vcpu_letters.wake();
    }

    fn read(&mut self, letter: Message) {
        match letter {
            Message::Claimed(generation, outcome) => self.tell(Event::Claimed { generation, outcome }),
            Message::Looked(sight) => self.tell(Event::Looked(sight)),
            Message::Connected(attempt, result) => {
                let result = result.map_err(|error| format!("{error:#}")).map(|reached| {
                    let window_bytes = reached.1.window_bytes;
                    self.hands.reached.insert(attempt, *reached);
                    window_bytes
                });
                self.tell(Event::Connected { attempt, result });
                // Something may have come right behind the Welcome, which no poll will tell of.
                self.hear_peer();
            }
            Message::Probed(attempt, result) => {
                let result = result.map_err(|error| format!("{error:#}"));
                self.tell(Event::Probed { attempt, result });
            }
            Message::Command(pending) => {
                if let Some((asked, command)) = self.hands.answers.take(pending) {
                    self.tell(Event::Asked { asked, command });
                }
            }
        }
    }

    fn read_from_vcpu(&mut self, letter: FromVcpu) {
        match letter {
            FromVcpu::Recorded(stretch) => self.recorded(stretch),
            FromVcpu::SeedStarted(link, position) => {
                self.tell_peer(link, PeerEvent::SeedStarted { position });
            }
            FromVcpu::SeedFrame(link, kind, body) => {
                self.ears.budget.give_back(body.len() as u64);
                if let Some(wire) = self.hands.wire.as_mut().filter(|wire| wire.link == link) {
                    wire.connection.send(kind, &body);
                }
                self.hands.flush();
                self.tell_news();
            }
            FromVcpu::SeedFailed(link, reason) => self.tell(Event::SeedFailed { link, reason }),
            FromVcpu::SeedSent(link) => self.tell_peer(link, PeerEvent::SeedSent),
            FromVcpu::Ended => self.tell(Event::VcpuEnded),
        }
    }

    fn recorded(&mut self, stretch: Stretch) {
        self.ears.budget.give_back(stretch.bytes());
        let Stretch { batch, registers, outputs, time_ns, since_ns, handed_over_ns } = stretch;
        let (through, bytes) = (batch.last, batch.body.len() as u64);
        trace::mark(Stage::Taken, through);
        self.hands.time_ns = time_ns;
        self.hands.registers.extend(through, registers);
        self.hands.log.push_back((through, batch.body));
        let said = outputs.into_iter().map(|(position, output)| (position, said(output))).collect();
        self.tell(Event::Recorded(Recorded { through, bytes, since_ns, said_ns: handed_over_ns, said }));
    }

    fn tell_peer(&mut self, link: Link, event: PeerEvent) {
        self.tell(Event::Peer { link, event });
    }

    fn hear_peer(&mut self) {
        while let Some(wire) = &mut self.hands.wire {
            let link = wire.link;
            if self.hands.resync.as_ref().is_some_and(Resync::is_full) {
                return self.tell_peer(link, PeerEvent::Heard);
            }
            match wire.connection.receive() {
                Ok(Some(frame)) => self.hear(link, &frame),
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%error, "connection to the secondary");
                    return self.tell_peer(link, PeerEvent::Lost(error.into()));
                }
            }
        }
    }

    fn hear(&mut self, link: Link, frame: &Frame) {
        match frame.kind {
            FrameKind::Diverged => {
                let Hands { wire: Some(wire), registers, site, .. } = &mut self.hands else { return };
                match wire::answer_divergence(wire, frame, registers) {
                    Ok(text) => site.board.notice(text),
                    Err(error) => site.board.notice(format!("{error:#}")),
                }
            }
            FrameKind::Refuse => {
                self.tell(Event::PeerRefuses { link, reason: wire::refusal(frame) });
            }
            FrameKind::DiskBases | FrameKind::DiskDigests => {
                let resync = self.hands.resync.as_ref();
                let heard = resync.map_or(Err(LossReason::Damaged), |resync| resync.hear(frame));
                self.tell_peer(link, heard.map_or_else(PeerEvent::Lost, |()| PeerEvent::Heard));
            }
            _ => self.tell_peer(link, wire::understand(frame).unwrap_or_else(PeerEvent::Lost)),
        }
    }

    /// True while so much of a seed waits for the connection that the vCPU thread, which is paused, is not heard. Log is
    /// always heard: the peer's window bounds it.
    fn is_choked(&self) -> bool {
        let wire = self.hands.wire.as_ref().filter(|wire| !wire.streaming);
        wire.is_some_and(|wire| wire.connection.unsent() > MAX_UNSENT)
    }

    /// More digests wait than are to be kept: the secondary is not heard, and that is not its fault.
    fn is_comparing_slowly(&self) -> bool {
        self.hands.resync.as_ref().is_some_and(Resync::is_full)
    }

    /// The comparison, unless there is more for the connection than it takes.
    fn resync_to_hear(&self) -> Option<&Resync> {
        self.hands.resync.as_ref().filter(|_| !self.is_choked())
    }

    fn read_resync(&mut self) {
        if let Some(resync) = &self.hands.resync {
            resync.letters.acknowledge();
        }
        for _ in 0..resync::BLOCKS_WAITING {
            let Some(letter) = self.resync_to_hear().and_then(|resync| resync.letters.next()) else { break };
            self.read_comparison(letter);
        }
        if let Some(resync) = self.hands.resync.as_ref().filter(|resync| !resync.letters.is_empty()) {
            // There is more: come back after a look at the connection.
            resync.letters.wake();
        }
    }

    fn read_comparison(&mut self, letter: resync::Letter) {
        match letter {
            resync::Letter::Regions(what, body) => {
                self.hands.site.board.notice(what);
                self.send_now(FrameKind::DiskRegions, &body);
            }
            resync::Letter::Block(body) => self.send_now(FrameKind::DiskBlock, &body),
            resync::Letter::Nearly => {
                if let Some(Resync { link, generation, .. }) = self.hands.resync.take() {
                    self.hands.orders.seed(link, generation);
                }
            }
            resync::Letter::Failed(reason) => {
                if let Some(Resync { link, .. }) = self.hands.resync.take() {
                    self.tell(Event::SeedFailed { link, reason });
                }
            }
        }
    }

    fn send_now(&mut self, kind: FrameKind, body: &[u8]) {
        if let Some(wire) = &mut self.hands.wire {
            wire.connection.send(kind, body);
        }
        self.hands.flush();
        self.tell_news();
    }
}

fn said(output: Output) -> Said<Output, DiskRequest> {
    match output {
        Output::Disk(request) => Said::Write(request),
        Output::Net { ref frame, .. } => Said::Output { bytes: frame.len() as u64, output },
        Output::Console(ref bytes) => Said::Output { bytes: bytes.len() as u64, output },
        Output::PowerOff(_) | Output::Reset(_) => Said::Output { bytes: 0, output },
    }
}
