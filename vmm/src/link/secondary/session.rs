//! The secondary's link thread: one primary's connection and the core that goes with it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, unbounded};
use devices::Output;
use ftlog::{Frame, Hello, Position};
use machine::snapshot::Seed;
use protocol::{
    LossReason,
    commit::{Limits, Unreleased},
    secondary::{Event, Phase, Secondary},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    copies::{Copies, Writer},
    listener::{Offer, WINDOW_BYTES},
    replica::{Report, Task},
};
use crate::{
    control::{Board, State},
    disk::stamp::StampState,
    host::{
        clock::monotonic_ns,
        reserve::{self, Handle},
    },
    identity::VmIdentity,
    link::{
        connection::Connection,
        mailbox::{Letters, Mailbox, mailbox},
        primary::Site,
        rate::Rate,
    },
};

/// How often the status of a secondary that follows is written, ns.
const REPORT_NS: u64 = 10_000_000;
/// How often everything is looked at when it cannot be waited for.
const POLL_AGAIN: Duration = Duration::from_millis(1);
/// Outputs kept to be said again at a takeover.
const UNRELEASED: Limits = Limits { outputs: 8192, bytes: 16 << 20 };

/// What the vCPU thread gets of a session.
pub struct Session {
    /// What to execute.
    pub tasks: Receiver<Task>,
    /// Where to say how it went.
    pub reports: Mailbox<Report>,
    /// What the guest said and the primary may not have let out.
    pub unreleased: Arc<Mutex<Unreleased<Output>>>,
    /// How the primary introduced itself.
    pub hello: Hello,
    /// Ends after its last task.
    pub thread: Handle<()>,
    /// Whoever writes this side's copies of the disks before the seed is whole.
    pub writer: Option<Writer>,
}

impl Session {
    /// Starts the link thread for a primary that was let in.
    pub fn start(site: &Site, offer: Offer) -> anyhow::Result<Self> {
        // What an earlier VM asked of the disks here is done first.
        site.outlets.disks.replay();
        let (tasks_in, tasks) = unbounded();
        let (reports, letters) = mailbox()?;
        let Offer { connection, hello } = offer;
        let identity = VmIdentity { vm: hello.vm, shape: hello.shape.clone(), wall_base_ns: 0 };
        let mark = identity.mark(hello.generation, StampState::Follower);
        let (disks, board) = (&site.outlets.disks, site.board.clone());
        let (copies, writer) = Copies::start(disks, &mark, &hello.disks, reports.clone(), board)?.unzip();
        let unreleased = Arc::new(Mutex::new(Unreleased::new(UNRELEASED)));
        let core = Secondary::new(&site.config, hello.generation, WINDOW_BYTES, monotonic_ns());
        let link = LinkThread {
            site: site.clone(),
            identity,
            primary_holder: hello.holder.clone(),
            core,
            connection: Some(connection),
            copies,
            seed: None,
            deferred: None,
            tasks: tasks_in,
            reports: reports.clone(),
            letters,
            unreleased: unreleased.clone(),
            waiting: VecDeque::new(),
            executed_time_ns: 0,
            log_bytes: 0,
            primary_position: Position(0),
            loss: None,
            failure: None,
            rate: Rate::default(),
            reported_ns: 0,
            more_to_hear: false,
            done: false,
        };
        let thread = reserve::spawn("link", move || link.run())?;
        Ok(Self { tasks, reports, unreleased, hello, thread, writer })
    }
}

pub(super) struct LinkThread {
    pub(super) site: Site,
    pub(super) identity: VmIdentity,
    /// Who holds the generation of the primary's.
    pub(super) primary_holder: String,
    pub(super) core: Secondary,
    pub(super) connection: Option<Connection>,
    /// Until the seed is whole: the disks on this side, while they are made equal to the primary's.
    pub(super) copies: Option<Copies>,
    pub(super) seed: Option<Seed>,
    /// Set while the vCPU thread makes the machine: what came meanwhile, to be heard after that.
    pub(super) deferred: Option<Vec<Frame>>,
    pub(super) tasks: Sender<Task>,
    pub(super) reports: Mailbox<Report>,
    pub(super) letters: Letters<Report>,
    pub(super) unreleased: Arc<Mutex<Unreleased<Output>>>,
    /// Batches that the core has not let the vCPU thread have yet.
    pub(super) waiting: VecDeque<(Position, Task)>,
    pub(super) executed_time_ns: u64,
    pub(super) log_bytes: u64,
    pub(super) primary_position: Position,
    pub(super) loss: Option<LossReason>,
    /// Why the VM could not go on here.
    pub(super) failure: Option<String>,
    pub(super) rate: Rate,
    pub(super) reported_ns: u64,
    /// Frames may be here already, which no poll tells of.
    pub(super) more_to_hear: bool,
    pub(super) done: bool,
}

impl LinkThread {
    fn run(mut self) {
        while !self.done {
            if self.wait().is_err() {
                // Such as that the host has no memory now, or allows fewer descriptors than these. Nothing here blocks,
                // so all of them are looked at.
                thread::sleep(POLL_AGAIN);
            }
            // The log before the clock: after a pause of this process it may show that the primary is well.
            self.hear_primary();
            self.send_digests();
            self.read_reports();
            self.tell(Event::Tick);
            self.flush();
            self.report(&self.site.board.clone());
        }
    }

    fn wait(&self) -> anyhow::Result<()> {
        let patience_ns = if self.more_to_hear { 0 } else { self.site.config.heartbeat_ns() };
        let timeout = Timespec::try_from(Duration::from_nanos(patience_ns))?;
        let mut watched = vec![PollFd::from_borrowed_fd(self.letters.descriptor(), PollFlags::IN)];
        if let Some(connection) = &self.connection {
            let interest = match connection.interest() {
                interest if self.is_copying_slowly() => interest - PollFlags::IN,
                interest => interest,
            };
            if !interest.is_empty() {
                watched.push(PollFd::new(connection, interest));
            }
        }
        if let Some(copies) = self.copies_to_hear() {
            watched.push(PollFd::from_borrowed_fd(copies.descriptor(), PollFlags::IN));
        }
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn tell(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.core.handle(event, monotonic_ns(), &mut effects);
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn report(&mut self, board: &Board) {
        let now_ns = monotonic_ns();
        if now_ns - self.reported_ns < REPORT_NS && self.core.phase() == Phase::Following {
            return;
        }
        self.reported_ns = now_ns;
        let rate = self.rate.per_second(now_ns, self.log_bytes);
        let (received, executed) = (self.core.received_through(), self.core.executed_through());
        board.update(|status| {
            status.state = match self.core.phase() {
                Phase::Seeding => State::Seeding,
                Phase::Following => State::Following,
                Phase::Draining => State::Draining,
                Phase::Arbitrating | Phase::Live => State::Arbitrating,
                Phase::Discarded => State::Listening,
            };
            status.name = Some(self.identity.shape.name.clone());
            status.vm = Some(self.identity.vm.to_string());
            status.generation = self.core.generation().0;
            status.position = executed.0;
            status.guest_time_ms = self.executed_time_ns as f64 / 1e6;
            status.peer = self.connection.as_ref().map(Connection::peer);
            status.lag_records = self.primary_position.max(received).0.saturating_sub(executed.0);
            status.disks = self.site.outlets.disks.report();
            status.log_bytes = self.log_bytes;
            status.log_bytes_per_s = rate;
        });
    }
}
