//! The protected machine that the blows fall on.

use std::{
    mem, thread,
    time::{Duration, Instant},
};

use ftlog::DiskMode;
use ftvmm::{
    control::{Role, State, Takeover},
    demo::{random::Random, wait},
};
use ftvmm_tests::{
    lab::{
        Host, Lab,
        member::{Member, Setup},
    },
    survivor,
};

use super::{
    super::{Journal, PATIENCE, await_console, clients::Clients, pair, replay::ensure_runs, share_disk},
    blows::Blow,
};

/// The blows come within this time after the machine is protected.
const WITHIN_MS: u64 = 2000;
/// The guest's memory, MiB.
pub const MEMORY_MIB: u32 = 192;

/// A protected machine.
pub struct Scene<'a> {
    pub(super) lab: &'a mut Lab,
    pub(super) mode: DiskMode,
    setup: Setup,
    /// The live side runs on host a.
    on_a: bool,
    pub(super) primary: Member,
    pub(super) secondary: Member,
    /// Members started so far: each has a name of its own.
    members: u32,
    protected_at: Instant,
}

impl<'a> Scene<'a> {
    /// Boots the guest, protected, with both services up.
    pub fn begin(lab: &'a mut Lab, mode: DiskMode, journal: &mut Journal) -> anyhow::Result<Self> {
        let begun = Instant::now();
        if mode == DiskMode::Shared {
            share_disk(lab)?;
        }
        let setup = pair("services", MEMORY_MIB, mode);
        let (secondary, address) = setup.secondary(&lab.b, "member-1")?;
        let primary = setup.primary(&lab.a, "member-2", &address)?;
        let alive = || ensure_runs(&primary.running);
        await_console(lab, "member-2", "services: ready", PATIENCE, alive)?;
        primary.wait_protected(&lab.a)?;
        let took = begun.elapsed().as_secs_f64();
        journal.line(&format!("Linux serves on host a, protected by host b, after {took:.1} s"))?;
        let protected_at = Instant::now();
        Ok(Self { lab, mode, setup, on_a: true, primary, secondary, members: 2, protected_at })
    }

    fn host(&self, of_primary: bool) -> &Host {
        if self.on_a == of_primary { &self.lab.a } else { &self.lab.b }
    }

    fn host_mut(&mut self, of_primary: bool) -> &mut Host {
        if self.on_a == of_primary { &mut self.lab.a } else { &mut self.lab.b }
    }

    /// One blow at a random moment, the checks, and the machine protected again. Gives the moment.
    pub fn strike(
        &mut self,
        blow: Blow,
        random: &mut Random,
        clients: &mut Clients,
        journal: &mut Journal,
    ) -> anyhow::Result<Duration> {
        // In real time: the test is about moments, and the load goes on meanwhile.
        thread::sleep(Duration::from_millis(random.below(WITHIN_MS)));
        let (moment, since) = (clients.elapsed(), self.protected_at.elapsed().as_secs_f64());
        let outcome = match blow {
            Blow::Primary => self.primary_loses_power()?,
            Blow::Secondary => self.secondary_loses_power()?,
            Blow::Network => self.network_is_cut()?,
        };
        clients.await_answers(3)?;
        let checked = clients.check()?;
        let at = moment.as_secs_f64();
        journal.line(&format!(
            "{at:6.1} s of load, {since:.2} s protected: {outcome}; both services answer; {checked}"
        ))?;
        let begun = Instant::now();
        let asked = self.protect(blow)?;
        clients.await_answers(3)?;
        let (live, took) = (self.host(true).name(), begun.elapsed().as_secs_f64());
        let seconds = (self.protected_at - asked).as_secs_f64();
        let compared = self.compared()?;
        journal.line(&format!(
            "         protected again on host {live} after {took:.1} s, {seconds:.1} s after the other host was there{compared}"
        ))?;
        Ok(moment)
    }

    /// What the live side says of its replicated disk, to people.
    fn compared(&self) -> anyhow::Result<String> {
        let status = self.primary.status(self.host(true))?;
        let told = status.events.iter().rev().find(|event| event.text.starts_with("disk 0: "));
        Ok(told.map_or_else(String::new, |event| format!("; {}", event.text)))
    }

    /// What both members say of themselves.
    pub fn describe(&self) -> String {
        let of = |member: &Member, of_primary: bool| match member.status(self.host(of_primary)) {
            Ok(status) => format!("{status:?}"),
            Err(error) => format!("no status: {error:#}"),
        };
        let [one, other] = [of(&self.primary, true), of(&self.secondary, false)];
        format!("the live side: {one}; the other: {other}")
    }

    fn primary_loses_power(&mut self) -> anyhow::Result<String> {
        let name = self.host(true).name();
        self.host_mut(true).power_off_now()?;
        let takeover = self.secondary.wait_takeover(self.host(false))?;
        self.swap();
        Ok(format!("host {name} (primary) lost power; {}", parts(&takeover)))
    }

    fn secondary_loses_power(&mut self) -> anyhow::Result<String> {
        let name = self.host(false).name();
        self.host_mut(false).power_off_now()?;
        let status = self.primary.wait_alone(self.host(true))?;
        let loss = status.last_loss.unwrap_or_default();
        Ok(format!("host {name} (secondary) lost power; the primary goes on alone: {loss}"))
    }

    fn network_is_cut(&mut self) -> anyhow::Result<String> {
        self.lab.network.cut_ft()?;
        let primary_lives = wait::until("both hosts to decide", PATIENCE, || self.decided())?;
        if primary_lives {
            let name = self.host(true).name();
            return Ok(format!("the network between the hosts was cut; the primary on host {name} goes on"));
        }
        let takeover = self.secondary.wait_takeover(self.host(false))?;
        self.swap();
        Ok(format!("the network between the hosts was cut; the primary halted; {}", parts(&takeover)))
    }

    /// The side that was the secondary is the live one.
    fn swap(&mut self) {
        mem::swap(&mut self.primary, &mut self.secondary);
        self.on_a = !self.on_a;
    }

    /// Whether the primary goes on, once both have made up their minds.
    ///
    /// # Errors
    /// When both go on, or neither.
    fn decided(&self) -> anyhow::Result<Option<bool>> {
        // A primary that halts ends, perhaps while it is asked.
        let of_primary = match self.primary.running.ended() {
            Some(_) => State::Halted,
            None => self.primary.status(self.host(true)).map_or(State::Arbitrating, |status| status.state),
        };
        survivor::primary_goes_on(of_primary, &self.secondary.status(self.host(false))?)
    }

    /// Gives the live side a secondary again, on the other host; says since when that was there.
    fn protect(&mut self, blow: Blow) -> anyhow::Result<Instant> {
        if blow == Blow::Network {
            self.lab.network.mend_ft()?;
        }
        // A secondary that lost the claim listens again, and its primary keeps looking for it.
        let listens = blow == Blow::Network
            && self.secondary.status(self.host(false)).is_ok_and(|it| it.role == Role::Secondary);
        let mut asked = Instant::now();
        if !listens {
            if blow == Blow::Network {
                self.secondary.running.kill();
                self.host(false).succeed(NO_MEMBER)?;
            } else {
                self.host_mut(false).power_on()?;
            }
            self.members += 1;
            let name = format!("member-{}", self.members);
            let (secondary, address) = self.setup.secondary(self.host(false), &name)?;
            self.secondary = secondary;
            asked = Instant::now();
            self.primary.ask(self.host(true), &format!("protect --to {address}"))?;
        }
        self.primary.wait_protected(self.host(true))?;
        self.protected_at = Instant::now();
        Ok(asked)
    }
}

/// Succeeds as soon as no member runs on the host, whose TAP device is then free.
const NO_MEMBER: &str = "for i in $(seq 200); do pidof ftvmm >/dev/null || exit 0; sleep 0.1; done; exit 1";

/// A takeover in its parts.
fn parts(takeover: &Takeover) -> String {
    let first = takeover.first_output_ms.unwrap_or(f64::NAN);
    format!(
        "takeover: detection {:.0} ms, drain {:.0} ms, arbitration {:.0} ms, resume {:.0} ms, first output {first:.0} ms",
        takeover.detection_ms, takeover.drain_ms, takeover.arbitration_ms, takeover.resume_ms
    )
}
