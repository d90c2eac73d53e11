//! What goes wrong, as it happens.

use super::{RECOVERY_NS, World};
use crate::commands;
use crate::failure::Failure;
use crate::faults::{Fault, HOSTS, MS};
use crate::host::Role;
use crate::input::Input;
use crate::process::Name;
use crate::shared::Action;

impl World {
    pub(super) fn crash(&mut self, host: usize) {
        let name = self.hosts[host].name;
        self.shared.say(|| format!("{name} crashes"));
        self.shared.stats.crashes += 1;
        self.shared.up[host] = None;
        self.shared.oracle.gone(name);
        self.hosts[host].role = Role::Down;
        self.hosts[host].paused = false;
        self.hosts[host].clock_stands_at_ns = None;
        self.hosts[host].inbox.clear();
        if self.shared.random.chance(600_000) {
            self.shared.kill(name);
        }
        let back_ns = self.shared.now_ns + self.shared.random.within(200 * MS..=1200 * MS);
        self.shared.schedule(back_ns, Action::Restart(host));
    }

    pub(super) fn pause(&mut self, host: usize) {
        let most_ns = self.shared.random.pick(&[30 * MS, 300 * MS, 1500 * MS]);
        self.pause_for(host, most_ns);
    }

    /// The host sleeps; where it is stopped by its own hypervisor, its clock stands.
    pub(super) fn suspend(&mut self, host: usize) {
        let most_ns = self.shared.random.pick(&[300 * MS, 3_000 * MS, 40_000 * MS]);
        if self.shared.random.chance(500_000) {
            self.hosts[host].clock_stands_at_ns = Some(self.shared.clock_ns(host));
            self.shared.oracle.loses_time(self.hosts[host].name);
        }
        self.pause_for(host, most_ns);
    }

    pub(super) fn pause_for(&mut self, host: usize, most_ns: u64) {
        let name = self.hosts[host].name;
        let pause_ns = self.shared.random.within(MS..=most_ns);
        self.shared.say(|| format!("{name} stops for {} ms", pause_ns / MS));
        self.hosts[host].paused = true;
        self.shared.schedule(self.shared.now_ns + pause_ns, Action::Resume(name));
    }

    /// What it was about to do comes first, then what happened meanwhile; the clock may be looked at before that.
    pub(super) fn resume(&mut self, name: Name) -> Result<(), Failure> {
        let host = name.host;
        if self.shared.up[host] != Some(name) || !self.hosts[host].paused {
            return Ok(());
        }
        self.shared.say(|| format!("{name} goes on"));
        self.hosts[host].paused = false;
        if let Some(stood_at_ns) = self.hosts[host].clock_stands_at_ns.take() {
            self.shared.clocks[host].stood_ns += self.shared.clock_ns(host) - stood_at_ns;
        }
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

    pub(super) fn fault(&mut self) -> Result<(), Failure> {
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
    pub(super) fn single_fault(&mut self) -> Result<(), Failure> {
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
    pub(super) fn inject(&mut self, fault: Fault, host: usize) -> u64 {
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
            Fault::Stop if up => self.shared.later(self.hosts[host].name, 0..=0, Input::Stop),
            Fault::Suspend if up && !self.hosts[host].paused => self.suspend(host),
            Fault::Threadless => self.shared.threadless_until_ns[host] = end_ns,
            Fault::HardOfHearing => self.shared.hard_of_hearing_until_ns[host] = end_ns,
            Fault::Endless => {
                let most_ns = self.shared.random.pick(&[1_000 * MS, 12_000 * MS, 60_000 * MS]);
                let until_ns = self.shared.now_ns + self.shared.random.within(MS..=most_ns);
                self.shared.endless_until_ns[host] = until_ns;
                self.shared.diverge[host] = true;
                return until_ns;
            }
            Fault::CutOff => self.shared.cut_off_until_ns[host] = end_ns,
            Fault::Frame => self.shared.break_frame[host] = true,
            Fault::Divergence => self.shared.diverge[host] = true,
            Fault::Crash | Fault::Pause | Fault::CrashWithoutArbiter | Fault::Stop | Fault::Suspend => {}
        }
        end_ns
    }

    /// Cuts a host off from the others, or from one, in one or both directions.
    pub(super) fn partition(&mut self, host: usize, end_ns: u64) {
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
}
