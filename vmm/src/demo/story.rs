//! The scenes of the demo, in order.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::Signal;

use super::{
    Narrator,
    client::{self, Load, LoadPlan, Mix},
    net::{self, GUEST},
    pair::{Member, Place, Setup},
    verdict::{self, Verdict},
};
use crate::control::{State, Takeover};

const CLIENTS: u32 = 8;
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an unprotected primary is given to find the secondary that is not there.
const HOPE: Duration = Duration::from_secs(3);
const PROGRESS: Duration = Duration::from_millis(100);
/// Where nobody listens, for the demonstration of that.
const NOBODY: &str = "127.0.0.1:9";

/// What to show.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How long the clients count altogether, between the blows.
    pub counting: Duration,
    /// Leave the secondary out.
    pub without_secondary: bool,
}

/// The stage.
pub(super) struct Story<'a> {
    plan: Plan,
    narrator: &'a Narrator,
    setup: Setup,
}

impl<'a> Story<'a> {
    pub(super) fn begin(plan: Plan, narrator: &'a Narrator, directory: &Path) -> anyhow::Result<Self> {
        narrator.step("A private network with a bridge and three TAP devices");
        net::enter(&["tap-a", "tap-b", "tap-c"])?;
        let arbiter = directory.join("arbiter");
        fs::create_dir(&arbiter).with_context(|| format!("cannot create {}", arbiter.display()))?;
        let program = std::env::current_exe().context("cannot tell which program this is")?;
        let (kernel, directory) = ("builtin:kv".to_owned(), directory.to_owned());
        let setup = Setup {
            program,
            kernel,
            directory,
            arbiter,
            failure_timeout_ms: 200,
            primary_options: Vec::new(),
            secondary_options: Vec::new(),
        };
        Ok(Self { plan, narrator, setup })
    }

    pub(super) fn tell(self) -> anyhow::Result<Verdict> {
        if self.plan.without_secondary {
            return self.never_protected();
        }
        let (secondary, primary) = self.protected_pair()?;
        let load = self.start_load()?;
        self.count(&load, 1)?;
        let log_bytes_per_s = self.tell_protection(&primary)?;

        let (mut alone, first) = self.kill(primary, secondary, &load)?;
        self.count(&load, 2)?;
        let third = self.protect_again(&mut alone)?;
        self.count(&load, 3)?;
        let (survivor, second) = self.kill(alone, third, &load)?;
        self.count(&load, 4)?;

        self.judge(load, survivor, vec![first, second], log_bytes_per_s)
    }

    fn protected_pair(&self) -> anyhow::Result<(Member, Member)> {
        let narrator = self.narrator;
        narrator.step("Host B starts a secondary, host A a primary with a key-value server as its guest");
        let begun = Instant::now();
        let (secondary, address) = self.setup.secondary("b", Place::here("tap-b"))?;
        let mut primary = self.setup.primary("a", Place::here("tap-a"), &address)?;
        narrator.progress("the guest starts and its state goes to B");
        let status = primary.wait_protected()?;
        let ms = begun.elapsed().as_millis();
        narrator.good(&format!(
            "protected at sync point {} after {ms} ms: B replays all that A does",
            status.position
        ));
        Ok((secondary, primary))
    }

    fn start_load(&self) -> anyhow::Result<Load> {
        self.narrator
            .step(&format!("{CLIENTS} clients count with INCR at {GUEST} and remember every answer"));
        let plan = LoadPlan {
            address: GUEST.into(),
            connections: CLIENTS,
            prefix: "demo".into(),
            mix: Mix::Count,
            pause: Duration::ZERO,
            patience: PATIENCE,
            seed: 0,
        };
        let load = Load::start(&plan, Instant::now())?;
        load.await_answers(1, PATIENCE).context("the guest does not serve")?;
        Ok(load)
    }

    /// Lets the clients count for one part of four.
    fn count(&self, load: &Load, part: u32) -> anyhow::Result<()> {
        let before = load.acknowledged();
        let until = Instant::now() + self.plan.counting / 4;
        while Instant::now() < until {
            thread::sleep(PROGRESS.min(until.saturating_duration_since(Instant::now())));
            self.narrator.progress(&format!("{} answers", load.acknowledged()));
        }
        let (now, seconds) = (load.acknowledged(), self.plan.counting.as_secs_f64() / 4.0);
        self.narrator.detail(&format!("{now} answers, {:.0} a second", (now - before) as f64 / seconds));
        if now == before {
            bail!("the guest has answered nobody in part {part} of the counting");
        }
        Ok(())
    }

    /// Gives the log rate, in bytes per second.
    fn tell_protection(&self, primary: &Member) -> anyhow::Result<f64> {
        let status = primary.status()?;
        let (rate, delay) = (status.log_bytes_per_s, &status.commit_delay_us);
        self.narrator.detail(&format!(
            "log {:.2} Mbit/s; answers wait {:.0} µs for B (p99 {:.0} µs); B is {:.1} ms behind",
            rate * 8.0 / 1e6,
            delay.p50,
            delay.p99,
            status.lag_ms,
        ));
        Ok(rate)
    }

    fn kill(
        &self,
        mut primary: Member,
        mut secondary: Member,
        load: &Load,
    ) -> anyhow::Result<(Member, Takeover)> {
        let (victim, heir) = (primary.process.name().to_uppercase(), secondary.process.name().to_uppercase());
        self.narrator.blow(&format!("SIGKILL to {victim}, under load"));
        let killed = Instant::now();
        primary.process.kill()?;
        self.narrator.progress(&format!("{heir} notices"));
        let takeover = secondary.wait_takeover()?;
        load.await_answers(1, PATIENCE).context("the guest does not answer after the takeover")?;
        let pause = killed.elapsed().as_millis();
        self.narrator.good(&format!("{heir} has taken over; clients have answers again after {pause} ms"));
        self.narrator.detail(&parts(&takeover));
        Ok((secondary, takeover))
    }

    fn protect_again(&self, primary: &mut Member) -> anyhow::Result<Member> {
        self.narrator.step("Host C starts a secondary, and B gives it the running VM");
        let (secondary, address) = self.setup.secondary("c", Place::here("tap-c"))?;
        let begun = Instant::now();
        primary.protect(&address)?;
        self.narrator.progress("the VM's state goes to C");
        primary.wait_protected()?;
        self.narrator.good(&format!("protected again after {} ms", begun.elapsed().as_millis()));
        Ok(secondary)
    }

    fn judge(
        &self,
        load: Load,
        survivor: Member,
        takeovers: Vec<Takeover>,
        log_bytes_per_s: f64,
    ) -> anyhow::Result<Verdict> {
        self.narrator.step("The clients stop; the counters are read and held against every answer");
        let history = load.stop()?;
        let counters = client::read_counters(GUEST.into(), &history, PATIENCE)?;
        let counted = verdict::count(&history, &counters);
        let verdict = Verdict::of(&history, counted, takeovers, log_bytes_per_s);
        shut_down(survivor);
        Ok(verdict)
    }

    /// A primary whose secondary is never started.
    fn never_protected(&self) -> anyhow::Result<Verdict> {
        self.narrator.step("Host A starts a primary; nobody starts its secondary");
        let mut primary = self.setup.primary("a", Place::here("tap-a"), NOBODY)?;
        self.narrator.progress("A looks for its secondary");
        let waited = primary.wait_status("protected", HOPE, |status| status.state == State::Protected);
        primary.process.expect_alive()?;
        if waited.is_ok() {
            bail!("protected, although nobody should listen at {NOBODY}");
        }
        let reason = primary.status()?.last_loss.unwrap_or_else(|| "it gives no reason".into());
        bail!("never protected: nothing listens at {NOBODY} ({reason}); a kill now would lose the VM")
    }
}

/// A process that does not end in order is killed when it is dropped, and has done all it should by now.
fn shut_down(mut member: Member) {
    if member.process.signal(Signal::TERM).is_ok() {
        let _ = member.process.wait_end(Duration::from_secs(2));
    }
}

fn parts(takeover: &Takeover) -> String {
    let first_output_ms = takeover.first_output_ms.unwrap_or_default();
    format!(
        "detection {:.1} ms ({}), drain {:.1} ms, arbitration {:.1} ms, resume {:.1} ms, first output {:.1} ms",
        takeover.detection_ms,
        takeover.reason,
        takeover.drain_ms,
        takeover.arbitration_ms,
        takeover.resume_ms,
        first_output_ms,
    )
}
