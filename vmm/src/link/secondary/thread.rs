//! The secondary's link thread: it carries bytes and reports to the [`Follower`], whose decisions `hands.rs` carries out.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crossbeam_channel::Sender;
use devices::Output;
use ftlog::{Diverged, FrameKind, PageDigests, Position};
use machine::{VcpuThread, memory::Memory};
use protocol::{
    commit::Unreleased,
    secondary::follower::{Follower, Input},
};
use replay::{
    Divergence, StopSwitch,
    trace::{self, Stage},
};
use rustix::event::{PollFd, PollFlags};

use super::{
    arrival::Arrival,
    copies::{Copies, Letter},
    gauge::Gauge,
    holdings::Holdings,
    messages::{Report, Task},
    peer::Peer,
    report::Reporter,
    turn::Turn,
};
use crate::{
    host::clock::boot_ns,
    identity::VmIdentity,
    link::{
        Site,
        mailbox::{Letters, Mailbox},
    },
};

/// A kick that comes just before KVM_RUN is lost, so it is repeated until it was heard.
const KICK_AGAIN: Duration = Duration::from_millis(5);

/// One primary's connection, and all that goes with it.
pub struct LinkThread {
    pub site: Site,
    pub identity: VmIdentity,
    /// Who holds the generation of the primary's.
    pub primary_holder: String,
    pub follower: Follower,
    pub peer: Peer,
    pub arrival: Arrival,
    /// Until it can be shown.
    pub divergence: Option<Divergence>,
    pub gauge: Gauge,
    pub reporter: Reporter,
    pub tasks: Sender<Task>,
    pub reports: Mailbox<Report>,
    pub letters: Letters<Report>,
    pub unreleased: Arc<Mutex<Unreleased<Output>>>,
    pub quit: StopSwitch,
    pub vcpu: VcpuThread,
    /// Frames may be here already, which no poll tells of.
    pub more_to_hear: bool,
    /// The vCPU thread was told how it ends.
    pub settled: bool,
    pub done: bool,
}

impl LinkThread {
    /// Runs until the vCPU thread is done with the session.
    pub fn run(mut self) {
        while !self.done {
            if self.wait() {
                self.letters.acknowledge();
            }
            trace::mark(Stage::SecondaryWoken, Position(0));
            // What is executed before what is acknowledged, which says so.
            self.read_reports();
            // The log before the clock: after a pause of this process it may show that the primary is well.
            self.hear_primary();
            self.send_digests();
            self.send_holdings();
            self.look();
            self.peer.flush();
            self.interrupt();
            self.report();
        }
    }

    /// Whatever has ended it, all is looked at: nothing here blocks. True if the bell of the letters was, or may be, rung.
    fn wait(&self) -> bool {
        let patience = match self.more_to_hear {
            true => Duration::ZERO,
            false if self.quit.is_thrown() => KICK_AGAIN,
            false => Duration::from_nanos(self.site.config.heartbeat_ns()),
        };
        let mut watched = vec![PollFd::from_borrowed_fd(self.letters.descriptor(), PollFlags::IN)];
        watched.extend(self.peer.watched(!self.arrival.is_full()));
        if let Some(copies) = self.copies_to_hear() {
            watched.push(PollFd::from_borrowed_fd(copies.descriptor(), PollFlags::IN));
        }
        if let Some(holdings) = self.holdings_to_hear() {
            watched.push(PollFd::from_borrowed_fd(holdings.letters.descriptor(), PollFlags::IN));
        }
        let known = self.site.wait.poll(&mut watched, patience);
        !known || !watched[0].revents().is_empty()
    }

    /// Not all at once, however much there is.
    fn hear_primary(&mut self) {
        self.more_to_hear = false;
        let mut turn = Turn::default();
        while !turn.is_over() {
            if self.arrival.is_full() {
                return;
            }
            let Some(input) = self.peer.next() else { return };
            if let Input::Frame(frame) = &input {
                turn.heard(frame.body.len());
            }
            self.tell(input);
        }
        self.more_to_hear = true;
    }

    /// The copies, unless there is more for the connection than it takes.
    fn copies_to_hear(&self) -> Option<&Copies> {
        self.arrival.copies.as_ref().filter(|_| self.peer.takes_bulk())
    }

    /// Tells the primary what the copies hold, as far as that is known.
    fn send_digests(&mut self) {
        if let Some(copies) = &self.arrival.copies {
            copies.letters.acknowledge();
        }
        while let Some(letter) = self.copies_to_hear().and_then(|copies| copies.letters.next()) {
            match letter {
                Letter::Bases(body) => self.peer.send(FrameKind::DiskBases, &body),
                Letter::Digests(body) => self.peer.send(FrameKind::DiskDigests, &body),
                Letter::Failed(reason) => self.tell(Input::Unusable { reason }),
            }
            self.peer.flush();
        }
        if let Some(copies) = self.arrival.copies.as_ref().filter(|copies| !copies.letters.is_empty()) {
            copies.letters.wake();
        }
    }

    /// The same of memory.
    fn holdings_to_hear(&self) -> Option<&Holdings> {
        self.arrival.holdings.as_ref().filter(|_| self.peer.takes_bulk())
    }

    fn send_holdings(&mut self) {
        if let Some(holdings) = &self.arrival.holdings {
            holdings.letters.acknowledge();
        }
        while let Some(body) = self.holdings_to_hear().and_then(|holdings| holdings.letters.next()) {
            self.peer.send(FrameKind::PageDigests, &body);
            self.peer.flush();
            if PageDigests::is_last(&body) {
                self.arrival.holdings = None;
                self.tell(Input::Told);
            }
        }
        if let Some(holdings) = self.arrival.holdings.as_ref().filter(|holdings| !holdings.letters.is_empty())
        {
            holdings.letters.wake();
        }
    }

    /// The guest does not run meanwhile, unless the primary's has come to a position by itself: then it does not need to be
    /// told any more, and whatever it is told does no harm.
    fn show(&mut self, memory: Memory, key: u64) {
        match Holdings::of(memory, 0, key) {
            Ok(holdings) => self.arrival.holdings = Some(holdings),
            Err(error) => {
                let reason = format!("no thread to look through the guest's memory: {error}");
                self.tell(Input::Unusable { reason });
            }
        }
    }

    fn read_reports(&mut self) {
        while let Some(report) = self.letters.next() {
            match report {
                Report::Copied => {
                    self.arrival.copies = None;
                    self.tell(Input::Copied);
                }
                Report::Unusable(reason) => self.tell(Input::Unusable { reason }),
                Report::Loaded(position) => self.tell(Input::Loaded { position }),
                Report::Executed { through, bytes, time_ns } => {
                    self.tell(Input::Executed { through, bytes, time_ns });
                }
                Report::Shown(memory, key) => self.show(memory, key),
                Report::PoweredOff(position) => self.tell(Input::PoweredOff { position }),
                Report::Diverged(divergence) => self.diverged(divergence),
                Report::Failed { position, reason } => self.tell(Input::Failed { position, reason }),
                Report::Claimed(generation, outcome) => {
                    self.site.board.notice_once(format!("arbiter, generation {generation}: {outcome}"));
                    self.tell(Input::Claimed { generation, outcome });
                }
                // That it was told has ended the wait for it.
                Report::Room | Report::CaughtUp => {}
                Report::Ended => self.done = true,
            }
        }
    }

    fn diverged(&mut self, divergence: Divergence) {
        let Divergence { position, difference, replayed, .. } = &divergence;
        let diverged = Diverged::new(*position, difference.to_string(), **replayed);
        self.divergence = Some(divergence);
        self.tell(Input::Diverged(Box::new(diverged)));
    }

    fn look(&mut self) {
        if let Some(sample) = self.gauge.look(self.arrival.work(), boot_ns()) {
            self.tell(Input::Seen(sample));
        }
        self.tell(Input::Tick);
    }

    /// What the vCPU thread executes is worth nothing any more.
    fn interrupt(&self) {
        if self.site.stop.is_thrown() && !self.settled {
            self.quit.throw();
        }
        if self.quit.is_thrown() {
            self.vcpu.kick();
        }
    }

    fn report(&mut self) {
        let (site, follower, peer) = (&self.site, &self.follower, &self.peer);
        let disks = &site.outlets.disks;
        self.reporter.report(&site.board, follower, &self.identity, disks, peer, boot_ns());
    }

    pub(super) fn tell(&mut self, input: Input) {
        let mut actions = Vec::new();
        self.follower.handle(input, boot_ns(), &mut actions);
        for action in actions {
            self.carry_out(action);
        }
    }
}
