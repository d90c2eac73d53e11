//! Power failures of either host under load, and cuts of the network between them: what Redis and SQLite have
//! acknowledged stays, the connections of their clients go on, and the file system is whole in the end.

use std::{
    mem, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use ftlog::DiskMode;
use ftvmm::{
    control::{Role, State, Takeover},
    demo::{random::Random, wait},
};
use ftvmm_tests::{
    harness,
    lab::{
        self, Ended, Host, Lab,
        member::{Member, Setup},
    },
};

use super::{
    Journal, PATIENCE, await_console, check_file_system,
    clients::{self, Clients, Verdict},
    guest, pair, plan, plan_without_disks, share_disk,
};

/// The blows, before they are shuffled, from the front and again as often as it takes; see [`how_many`].
const BLOWS: [Blow; 8] = [
    Blow::Primary,
    Blow::Network,
    Blow::Primary,
    Blow::Secondary,
    Blow::Primary,
    Blow::Primary,
    Blow::Secondary,
    Blow::Primary,
];
/// They come within this time after the machine is protected.
const WITHIN_MS: u64 = 2000;
/// The guest's memory, MiB.
const MEMORY_MIB: u32 = 192;

#[test]
fn linux_with_replicated_disks_survives_power_failures() {
    power_failures(DiskMode::Replicated);
}

#[test]
fn linux_with_a_shared_disk_survives_power_failures() {
    power_failures(DiskMode::Shared);
}

/// What befalls the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// The primary's host loses power.
    Primary,
    /// The secondary's host loses power.
    Secondary,
    /// The hosts cannot hear each other any more; both hear the clients.
    Network,
}

/// How many blows there are unless `FTVMM_KILLS` says otherwise. With the other tests of the lab the primary's host
/// loses power ten times. Replicated disks are compared after each blow, which takes most of these tests' time.
fn how_many(mode: DiskMode) -> u64 {
    match mode {
        DiskMode::Shared => 8,
        DiskMode::Replicated => 5,
    }
}

/// Blows in a random order.
fn blows(mode: DiskMode, random: &mut Random) -> Vec<Blow> {
    let count = harness::number("FTVMM_KILLS").unwrap_or_else(|| how_many(mode)) as usize;
    let mut blows = BLOWS.repeat(count.div_ceil(BLOWS.len()));
    blows.truncate(count);
    for last in (1..count).rev() {
        blows.swap(last, random.below(last as u64 + 1) as usize);
    }
    blows
}

fn power_failures(mode: DiskMode) {
    let seed = harness::seed();
    let name = format!("power-{mode:?}").to_lowercase();
    let files = if mode == DiskMode::Replicated { plan } else { plan_without_disks };
    lab::play(files, |lab| {
        let mut journal = Journal::open(&name)?;
        journal.line(&format!("{name}: FTVMM_SEED={seed}"))?;
        let mut random = Random::new(seed);
        let mut scene = Scene::begin(lab, mode, &mut journal)?;
        let mut clients = Clients::start(seed)?;
        let blows = blows(mode, &mut random);
        let mut moments = Vec::new();
        for (number, blow) in (1..).zip(&blows) {
            let moment = scene.strike(*blow, &mut random, &mut clients, &mut journal);
            let moment = moment.with_context(|| scene.describe());
            moments.push(moment.with_context(|| format!("blow {number} of {blows:?}, FTVMM_SEED={seed}"))?);
        }
        let verdict = clients.finish().with_context(|| format!("FTVMM_SEED={seed}"))?;
        let silences: Vec<String> =
            moments.iter().map(|moment| format!("{:.1} s", verdict.silence_s(*moment))).collect();
        journal.line(&format!(
            "{} increments and {} rows acknowledged, all there; every connection lasted from beginning to end; the \
             clients waited at most {} for an answer after the blows",
            verdict.increments(),
            verdict.rows(),
            silences.join(", ")
        ))?;
        scene.end(&verdict, &mut journal).with_context(|| format!("FTVMM_SEED={seed}"))
    });
}

/// A protected machine.
struct Scene<'a> {
    lab: &'a mut Lab,
    mode: DiskMode,
    setup: Setup,
    /// The live side runs on host a.
    on_a: bool,
    primary: Member,
    secondary: Member,
    /// Members started so far: each has a name of its own.
    members: u32,
    protected_at: Instant,
}

impl<'a> Scene<'a> {
    /// Boots the guest, protected, with both services up.
    fn begin(lab: &'a mut Lab, mode: DiskMode, journal: &mut Journal) -> anyhow::Result<Self> {
        let begun = Instant::now();
        if mode == DiskMode::Shared {
            share_disk(lab)?;
        }
        let setup = pair("services", MEMORY_MIB, mode);
        let (secondary, address) = setup.secondary(&lab.b, "member-1")?;
        let primary = setup.primary(&lab.a, "member-2", &address)?;
        let alive = || ensure_runs(&primary);
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
    fn strike(
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
        self.protect(blow)?;
        clients.await_answers(3)?;
        let live = self.host(true).name();
        journal.line(&format!(
            "         protected again on host {live} after {:.1} s",
            begun.elapsed().as_secs_f64()
        ))?;
        Ok(moment)
    }

    /// What both members say of themselves.
    fn describe(&self) -> String {
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
        let heir = self.secondary.status(self.host(false))?;
        let lives = match of_primary {
            State::Unprotected => true,
            State::Halted => false,
            _ => return Ok(None),
        };
        let heir_lives = match (heir.role, heir.state) {
            (Role::Primary, State::Unprotected) => true,
            (Role::Secondary, State::Listening) => false,
            _ => return Ok(None),
        };
        ensure!(lives != heir_lives, "the primary lives: {lives}; the secondary lives: {heir_lives}");
        Ok(Some(lives))
    }

    /// Gives the live side a secondary again, on the other host.
    fn protect(&mut self, blow: Blow) -> anyhow::Result<()> {
        if blow == Blow::Network {
            self.lab.network.mend_ft()?;
        }
        // A secondary that lost the claim listens again, and its primary keeps looking for it.
        let listens = blow == Blow::Network
            && self.secondary.status(self.host(false)).is_ok_and(|it| it.role == Role::Secondary);
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
            self.primary.ask(self.host(true), &format!("protect --to {address}"))?;
        }
        self.primary.wait_protected(self.host(true))?;
        self.protected_at = Instant::now();
        Ok(())
    }

    /// Switches the guest off in order, looks at its disks, and starts it again from them.
    fn end(self, verdict: &Verdict, journal: &mut Journal) -> anyhow::Result<()> {
        clients::shut_down()?;
        for member in [&self.primary, &self.secondary] {
            let ended = member.running.wait_end(PATIENCE)?;
            ensure!(ended == Ended::Status(0), "a member ended with {ended:?}: {}", member.running.log());
        }
        let (lab, mode) = (self.lab, self.mode);
        check_disks(lab, mode)?;
        journal.line("the guest was switched off in order; e2fsck -fn finds nothing wrong")?;

        let mut words = vec!["run".to_owned()];
        words.extend(guest("services", MEMORY_MIB));
        words.extend(super::disk(mode));
        words.extend(["--net", "tap=vm0", "--console", "file=/shared/cold.guest"].map(str::to_owned));
        let cold = lab.b.spawn("cold", &super::command(&words))?;
        let alive = || match cold.ended() {
            None => Ok(()),
            Some(ended) => anyhow::bail!("it ended ({ended:?}): {}", cold.log()),
        };
        await_console(lab, "cold", "services: ready", PATIENCE, alive)?;
        verdict.check().context("the guest started again from its disk")?;
        clients::shut_down()?;
        let ended = cold.wait_end(PATIENCE)?;
        ensure!(ended == Ended::Status(0), "the guest ended with {ended:?}: {}", cold.log());
        lab.b.succeed("sync")?;
        journal.line("started again from the disk, without protection, it has all that was acknowledged")
    }
}

/// Succeeds as soon as no member runs on the host, whose TAP device is then free.
const NO_MEMBER: &str = "for i in $(seq 200); do pidof ftvmm >/dev/null || exit 0; sleep 0.1; done; exit 1";

/// File systems without fault; and replicated disks that are the same on both hosts.
fn check_disks(lab: &Lab, mode: DiskMode) -> anyhow::Result<()> {
    if mode == DiskMode::Shared {
        return check_file_system(&lab.shared().join(super::SHARED_DISK));
    }
    for host in [&lab.a, &lab.b] {
        host.succeed("sync")?;
        check_file_system(&host.disk()).with_context(|| format!("the disk of host {}", host.name()))?;
    }
    super::compare_files(&lab.a.disk(), &lab.b.disk())
}

fn ensure_runs(member: &Member) -> anyhow::Result<()> {
    let ended = member.running.ended();
    ensure!(ended.is_none(), "it ended ({ended:?}): {}", member.running.log());
    Ok(())
}

/// A takeover in its parts.
fn parts(takeover: &Takeover) -> String {
    let first = takeover.first_output_ms.unwrap_or(f64::NAN);
    format!(
        "takeover: detection {:.0} ms, drain {:.0} ms, arbitration {:.0} ms, resume {:.0} ms, first output {first:.0} ms",
        takeover.detection_ms, takeover.drain_ms, takeover.arbitration_ms, takeover.resume_ms
    )
}
