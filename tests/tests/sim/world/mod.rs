//! The event loop: true time, and everything that is going to happen.

use std::collections::VecDeque;

use ftlog::{FrameDecoder, FrameKind};
use protocol::arbiter::ClaimOutcome;

use crate::failure::Failure;
use crate::faults::{HOSTS, MS, Profile};
use crate::host::{Host, Role};
use crate::input::Input;
use crate::network::Arrival;
use crate::primary_io::{PrimaryIo, Turn};
use crate::process::{Name, TICK_NS};
use crate::secondary_io::SecondaryIo;
use crate::shared::{Action, Shared};
use crate::stats::Stats;

/// Once faults have ended, everything must be well within this time.
/// A secondary that says that it moves, and does not, is given the longest time for that.
const RECOVERY_NS: u64 = 80_000 * MS;

mod mishaps;
mod recovery;

pub struct World {
    hosts: Vec<Host>,
    shared: Shared,
    /// In single-fault mode: since when the pair has been recovering.
    recovering_since_ns: Option<u64>,
    /// In single-fault mode: the fault before is over and has had time to show.
    next_fault_ns: u64,
}

impl World {
    pub fn new(seed: u64, profile: Profile, narrate: bool) -> Self {
        let shared = Shared::new(seed, profile, narrate, HOSTS);
        let hosts = (0..HOSTS).map(|host| {
            let name = Name { host, incarnation: 0 };
            let inbox = VecDeque::new();
            Host { name, role: Role::Idle, paused: false, clock_stands_at_ns: None, inbox }
        });
        let hosts = hosts.collect();
        Self { hosts, shared, recovering_since_ns: None, next_fault_ns: 0 }
    }

    /// Runs until all is well after the last fault; a failure otherwise.
    pub fn run(mut self) -> Result<Stats, Failure> {
        for host in 0..HOSTS {
            self.start(host);
        }
        let first = &mut self.hosts[0];
        first.role = Role::Primary(Box::new(PrimaryIo::create(first.name, &self.shared)));
        self.run_effects(0).map_err(|failure| failure.at(0))?;
        self.shared.schedule(self.shared.profile.every_ns, Action::Fault);
        self.shared.schedule(self.shared.profile.quiet_ns, Action::Settled);
        while let Some((at_ns, action)) = self.shared.next() {
            self.shared.now_ns = at_ns;
            if self.act(action).map_err(|failure| failure.at(at_ns))? {
                break;
            }
        }
        self.shared.stats.seeds = 1;
        Ok(self.shared.stats)
    }

    fn start(&mut self, host: usize) {
        let name = self.hosts[host].name;
        self.shared.up[host] = Some(name);
        self.shared.later(name, 0..=TICK_NS, Input::Tick);
        self.shared.later(name, 0..=5 * MS, Input::Run);
    }

    /// True when the run is over.
    fn act(&mut self, action: Action) -> Result<bool, Failure> {
        match action {
            Action::Input(name, input) => self.input(name, input)?,
            Action::Deliver(conn, delivery) => {
                let blocked_ns = self.shared.network.blocked_until_ns(delivery.from, delivery.to);
                if blocked_ns > self.shared.now_ns {
                    self.shared.schedule(blocked_ns, Action::Deliver(conn, delivery));
                } else {
                    self.input(delivery.to, Input::Arrival { conn, arrival: delivery.arrival })?;
                }
            }
            Action::Decide(name, claim) => {
                let there = self.shared.up[name.host] == Some(name);
                if there || self.shared.random.chance(500_000) {
                    self.shared.decide(name, &claim);
                }
            }
            Action::Fault => self.fault()?,
            Action::Resume(name) => self.resume(name)?,
            Action::Restart(host) => {
                self.hosts[host].name.incarnation += 1;
                self.hosts[host].role = Role::Idle;
                self.start(host);
            }
            Action::Settled => return self.settled(),
        }
        Ok(false)
    }

    fn input(&mut self, name: Name, input: Input) -> Result<(), Failure> {
        let host = name.host;
        if self.shared.up[host] != Some(name) {
            return Ok(());
        }
        if self.hosts[host].paused {
            self.hosts[host].inbox.push_back(input);
            return Ok(());
        }
        match &input {
            Input::Tick => self.shared.later(name, TICK_NS..=TICK_NS + 2 * MS, Input::Tick),
            Input::Run => {
                let pause = if self.shared.is_slow(host) { 20 * MS..=60 * MS } else { MS..=6 * MS };
                self.shared.later(name, pause, Input::Run);
            }
            Input::Answer { outcome: ClaimOutcome::Lost { .. }, .. } => {
                self.shared.stats.lost_claims += 1;
                self.shared.oracle.lost(name);
            }
            _ => {}
        }
        let stops = matches!(input, Input::Stop);
        match &mut self.hosts[host].role {
            Role::Primary(io) => io.input(input, &mut self.shared)?,
            Role::Secondary(io) if stops => {
                io.end(&mut self.shared);
                self.leave(host);
            }
            Role::Secondary(io) => io.input(input, &mut self.shared)?,
            Role::Idle if stops => self.leave(host),
            Role::Idle => self.idle_input(host, input),
            Role::Down => {}
        }
        self.run_effects(host)?;
        self.end_if_done(host)
    }

    /// A primary's process ends when its VM has, and what that said last has left or cannot.
    fn end_if_done(&mut self, host: usize) -> Result<(), Failure> {
        let host_ = &mut self.hosts[host];
        if let Role::Primary(io) = &mut host_.role
            && !host_.paused
            && io.core.is_done()
        {
            io.end(&mut self.shared)?;
            self.leave(host);
        }
        Ok(())
    }

    /// Its process has ended, and is started again after a while.
    fn leave(&mut self, host: usize) {
        let name = self.hosts[host].name;
        self.shared.say(|| format!("{name} has ended"));
        self.shared.up[host] = None;
        self.hosts[host].role = Role::Down;
        let back_ns = self.shared.now_ns + self.shared.random.within(200 * MS..=1200 * MS);
        self.shared.schedule(back_ns, Action::Restart(host));
    }

    /// A listener takes the first primary that says Hello.
    fn idle_input(&mut self, host: usize, input: Input) {
        let Input::Arrival { conn, arrival: Arrival::Bytes(bytes) } = input else { return };
        let name = self.hosts[host].name;
        let mut decoder = FrameDecoder::new();
        assert_eq!(decoder.feed(&bytes), bytes.len(), "the model's frames are short");
        match decoder.next() {
            Ok(Some(frame)) if frame.kind == FrameKind::Hello => {
                let io = SecondaryIo::accept(name, conn, decoder, &frame, &mut self.shared);
                self.hosts[host].role = Role::Secondary(Box::new(io));
            }
            _ => self.shared.close(conn, name),
        }
    }

    /// Carries out what the core asked for, one effect at a time; at each the process can die or stall.
    fn run_effects(&mut self, host: usize) -> Result<(), Failure> {
        loop {
            let waiting = match &self.hosts[host].role {
                Role::Primary(io) => !io.effects.is_empty(),
                Role::Secondary(io) => !io.effects.is_empty(),
                Role::Down | Role::Idle => false,
            };
            if !waiting {
                return Ok(());
            }
            if self.shared.faulty(self.shared.profile.crash_at_effect) {
                self.crash(host);
                return Ok(());
            }
            if self.shared.faulty(self.shared.profile.pause_at_effect) {
                self.pause(host);
                return Ok(());
            }
            let turn = match &mut self.hosts[host].role {
                Role::Primary(io) => match io.effects.pop_front() {
                    Some(effect) => io.effect(effect, &mut self.shared)?,
                    None => Turn::Stay,
                },
                Role::Secondary(io) => match io.effects.pop_front() {
                    Some(effect) => io.effect(effect, &mut self.shared)?,
                    None => Turn::Stay,
                },
                Role::Down | Role::Idle => Turn::Stay,
            };
            self.turn(host, turn);
        }
    }

    fn turn(&mut self, host: usize, turn: Turn) {
        match turn {
            Turn::Stay => {}
            Turn::Primary(io) => self.hosts[host].role = Role::Primary(io),
            // A listener is the same process after it has thrown a VM away; a halted primary is not.
            Turn::Idle => {
                let was_primary = matches!(self.hosts[host].role, Role::Primary(_));
                self.hosts[host].role = Role::Idle;
                if was_primary {
                    self.hosts[host].name.incarnation += 1;
                    self.start(host);
                }
            }
        }
    }
}
