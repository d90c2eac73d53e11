//! The event loop: true time, and everything that is going to happen.

use std::collections::VecDeque;

use ftlog::{FrameDecoder, FrameKind};
use protocol::arbiter::ClaimOutcome;
use protocol::primary::controller::Command;
use protocol::{primary, secondary};

use crate::commands;
use crate::faults::{Fault, MS, Profile};
use crate::host::{Clock, Host, Input, Name, Role, TICK_NS, Turn};
use crate::network::Arrival;
use crate::primary_io::PrimaryIo;
use crate::secondary_io::SecondaryIo;
use crate::shared::{Action, Failure, Shared, Stats};

const HOSTS: usize = 3;
/// Once faults have ended, everything must be well within this time.
const RECOVERY_NS: u64 = 20_000 * MS;

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
        let mut shared = Shared::new(seed, profile, narrate, HOSTS);
        let hosts = (0..HOSTS).map(|host| {
            let name = Name { host, incarnation: 0 };
            let clock = Clock {
                offset_ns: shared.random.within(0..=1_000_000_000_000),
                parts_per_million: shared.random.within(980_000..=1_020_000),
            };
            Host { name, clock, role: Role::Idle, paused: false, inbox: VecDeque::new() }
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
        first.role = Role::Primary(Box::new(PrimaryIo::create(first.name, first.clock, &self.shared)));
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
            Action::Decide(name, generation) => {
                let there = self.shared.up[name.host] == Some(name);
                if there || self.shared.random.chance(500_000) {
                    self.shared.decide(name, generation);
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
        match &mut self.hosts[host].role {
            Role::Down => {}
            Role::Idle => self.idle_input(host, input),
            Role::Primary(io) => io.input(input, &mut self.shared)?,
            Role::Secondary(io) => io.input(input, &mut self.shared)?,
        }
        self.run_effects(host)
    }

    /// A listener takes the first primary that says Hello.
    fn idle_input(&mut self, host: usize, input: Input) {
        let Input::Arrival { conn, arrival: Arrival::Bytes(bytes) } = input else { return };
        let name = self.hosts[host].name;
        let mut decoder = FrameDecoder::new();
        assert_eq!(decoder.feed(&bytes), bytes.len(), "the model's frames are short");
        match decoder.next() {
            Ok(Some(frame)) if frame.kind == FrameKind::Hello => {
                let clock = self.hosts[host].clock;
                let io = SecondaryIo::accept(name, clock, conn, decoder, &frame, &mut self.shared);
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

    fn crash(&mut self, host: usize) {
        let name = self.hosts[host].name;
        self.shared.say(|| format!("{name} crashes"));
        self.shared.stats.crashes += 1;
        self.shared.up[host] = None;
        self.shared.oracle.gone(name);
        self.hosts[host].role = Role::Down;
        self.hosts[host].paused = false;
        self.hosts[host].inbox.clear();
        if self.shared.random.chance(600_000) {
            self.shared.kill(name);
        }
        let back_ns = self.shared.now_ns + self.shared.random.within(200 * MS..=1200 * MS);
        self.shared.schedule(back_ns, Action::Restart(host));
    }

    fn pause(&mut self, host: usize) {
        let name = self.hosts[host].name;
        let most_ns = self.shared.random.pick(&[30 * MS, 300 * MS, 1500 * MS]);
        let pause_ns = self.shared.random.within(MS..=most_ns);
        self.shared.say(|| format!("{name} stops for {} ms", pause_ns / MS));
        self.hosts[host].paused = true;
        self.shared.schedule(self.shared.now_ns + pause_ns, Action::Resume(name));
    }

    /// What it was about to do comes first, then what happened meanwhile; the clock may be looked at before that.
    fn resume(&mut self, name: Name) -> Result<(), Failure> {
        let host = name.host;
        if self.shared.up[host] != Some(name) || !self.hosts[host].paused {
            return Ok(());
        }
        self.shared.say(|| format!("{name} goes on"));
        self.hosts[host].paused = false;
        let mut inbox = std::mem::take(&mut self.hosts[host].inbox);
        if let Some(tick) = inbox.iter().position(|input| matches!(input, Input::Tick))
            && self.shared.random.chance(500_000)
            && let Some(tick) = inbox.remove(tick)
        {
            inbox.push_front(tick);
        }
        self.run_effects(host)?;
        for input in inbox {
            self.input(name, input)?;
        }
        Ok(())
    }

    fn fault(&mut self) -> Result<(), Failure> {
        let now_ns = self.shared.now_ns;
        if now_ns >= self.shared.profile.quiet_ns {
            return Ok(());
        }
        self.shared.schedule(now_ns + self.shared.profile.every_ns, Action::Fault);
        if self.shared.profile.single {
            return self.single_fault();
        }
        for (fault, rate) in Fault::rates(&self.shared.profile) {
            if self.shared.random.chance(rate) {
                let host = self.shared.random.within(0..=HOSTS as u64 - 1) as usize;
                self.inject(fault, host);
            }
        }
        Ok(())
    }

    /// The next fault only when all is well again, which must not take long.
    fn single_fault(&mut self) -> Result<(), Failure> {
        let now_ns = self.shared.now_ns;
        if now_ns < self.next_fault_ns {
            return Ok(());
        }
        let Some((primary, secondary)) = self.protected_pair() else {
            self.protect_again();
            let since_ns = *self.recovering_since_ns.get_or_insert(now_ns);
            if now_ns - since_ns > RECOVERY_NS {
                return Err(Failure::liveness(format!("not protected again: {}", self.describe())));
            }
            return Ok(());
        };
        self.recovering_since_ns = None;
        self.shared.break_frame.fill(false);
        self.shared.diverge.fill(false);
        let fault = self.shared.random.pick(&Fault::SINGLE);
        let host = self.shared.random.pick(&[primary, secondary]);
        let end_ns = self.inject(fault, host);
        self.next_fault_ns = end_ns + self.shared.random.within(400 * MS..=800 * MS);
        Ok(())
    }

    /// Gives the time at which a fault that lasts will be over.
    fn inject(&mut self, fault: Fault, host: usize) -> u64 {
        self.shared.say(|| format!("fault: {fault:?} at host {host}"));
        let end_ns = self.shared.end_of_fault();
        let up = self.shared.up[host].is_some();
        match fault {
            Fault::Crash if up => self.crash(host),
            Fault::Pause if up && !self.hosts[host].paused => self.pause(host),
            Fault::Partition => self.partition(host, end_ns),
            Fault::ArbiterDown => self.shared.arbiter.take_down(end_ns),
            Fault::CrashWithoutArbiter if up => {
                self.shared.arbiter.take_down(end_ns);
                self.crash(host);
            }
            Fault::Command => {
                let primaries = self.hosts.iter().filter(|host| matches!(host.role, Role::Primary(_)));
                let names = primaries.map(|host| host.name).collect::<Vec<_>>();
                for name in names {
                    let command = commands::any(&mut self.shared.random);
                    self.shared.later(name, 0..=0, Input::Command(command));
                }
            }
            Fault::SlowReplay => self.shared.slow_until_ns[host] = end_ns,
            Fault::Idle => self.shared.idle_until_ns[host] = end_ns,
            Fault::Freeze => {
                let until_ns = self.shared.now_ns + self.shared.random.within(100 * MS..=5000 * MS);
                self.shared.frozen_until_ns[host] = until_ns;
                return until_ns;
            }
            Fault::CutOff => self.shared.cut_off_until_ns[host] = end_ns,
            Fault::Frame => self.shared.break_frame[host] = true,
            Fault::Divergence => self.shared.diverge[host] = true,
            Fault::Crash | Fault::Pause | Fault::CrashWithoutArbiter => {}
        }
        end_ns
    }

    /// Cuts a host off from the others, or from one, in one or both directions.
    fn partition(&mut self, host: usize, end_ns: u64) {
        let kind = self.shared.random.within(0..=2);
        for other in (0..HOSTS).filter(|other| *other != host) {
            if self.shared.random.chance(300_000) {
                continue;
            }
            if kind != 0 {
                self.shared.network.block(host, other, end_ns);
            }
            if kind != 1 {
                self.shared.network.block(other, host, end_ns);
            }
        }
    }

    /// The operator does not leave the VM as it was after a turn-off.
    fn protect_again(&mut self) {
        for host in &self.hosts {
            let Role::Primary(io) = &host.role else { continue };
            if io.core.peer().is_none() {
                let command = Command::Protect { to: "anybody".to_owned() };
                self.shared.later(host.name, 0..=0, Input::Command(command));
            }
        }
    }

    /// The hosts of primary and secondary, if that is what they are and nothing else is going on.
    fn protected_pair(&self) -> Option<(usize, usize)> {
        let mut primary = None;
        let mut secondary = None;
        for (index, host) in self.hosts.iter().enumerate() {
            let before = match &host.role {
                Role::Idle if !host.paused => continue,
                Role::Primary(io) if !host.paused && io.core.phase() == primary::Phase::Protected => {
                    primary.replace(index)
                }
                Role::Secondary(io) if !host.paused && io.core.phase() == secondary::Phase::Following => {
                    secondary.replace(index)
                }
                _ => return None,
            };
            if before.is_some() {
                return None;
            }
        }
        primary.zip(secondary)
    }

    /// After the last fault: asked now and then whether the run is over.
    fn settled(&mut self) -> Result<bool, Failure> {
        let now_ns = self.shared.now_ns;
        let quiet_ns = now_ns - self.shared.profile.quiet_ns;
        if quiet_ns > 600 * MS && self.protected_pair().is_some() {
            return Ok(true);
        }
        if quiet_ns <= RECOVERY_NS {
            self.protect_again();
            self.shared.schedule(now_ns + 100 * MS, Action::Settled);
            return Ok(false);
        }
        let nobody = self.hosts.iter().all(|host| matches!(host.role, Role::Idle));
        if nobody && !self.shared.profile.single && !self.shared.vm_may_live() {
            self.shared.stats.vms_lost += 1;
            return Ok(true);
        }
        Err(Failure::liveness(format!("not protected at the end: {}", self.describe())))
    }

    fn describe(&self) -> String {
        let roles = self.hosts.iter().map(|host| {
            let role = match &host.role {
                Role::Down => "down".to_owned(),
                Role::Idle => "idle".to_owned(),
                Role::Primary(io) => format!("primary, {}", io.core.phase()),
                Role::Secondary(io) => format!("secondary, {}", io.core.phase()),
            };
            format!("{}: {role}", host.name)
        });
        roles.collect::<Vec<_>>().join("; ")
    }
}
