//! One byte of the secondary's memory is changed again and again, while programs compute and clients are served: each time
//! it is found out and healed, nothing acknowledged is lost, and what both processes have of their hosts does not grow.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use ftlog::DiskMode;
use ftvmm::{
    control::{State, Status},
    demo::{random::Random, wait},
};
use ftvmm_tests::{
    harness,
    lab::{
        self, Ended, Lab, artefacts,
        member::{Member, Setup},
        process::Process,
    },
};

use super::{
    Journal, PATIENCE, await_console,
    clients::{self, Clients},
    pair, plan_without_disks,
    replay::ensure_runs,
    share_disk,
};
use damage::Places;
use heal::Heal;
use report::{Report, Round};

mod damage;
mod heal;
mod report;

/// How long it goes on, unless `FTVMM_SOAK_SECONDS` says otherwise.
const SECONDS: u64 = 15;
/// From one difference to the next, s; less where there would be fewer than so many, which there are in any case.
const INTERVAL: u64 = 60;
const FEWEST: u64 = 3;
const MEMORY_MIB: u32 = 512;
/// Silence that counts as loss, ms: nobody dies here, and a loss would mend a difference before it is found out.
const TIMEOUT_MS: u64 = 10_000;
/// The longest wait for the services, which start beside programs that compute.
const START_PATIENCE: Duration = Duration::from_secs(400);

#[test]
fn linux_whose_secondary_is_damaged_again_and_again_is_healed_each_time() {
    let seed = harness::seed();
    let seconds = harness::number("FTVMM_SOAK_SECONDS").unwrap_or(SECONDS);
    lab::play(plan_without_disks, |lab| {
        let mut journal = Journal::open(&format!("soak-{seconds}"))?;
        soak(lab, Duration::from_secs(seconds), seed, &mut journal)
            .with_context(|| format!("FTVMM_SEED={seed}"))
    });
}

fn soak(lab: &Lab, length: Duration, seed: u64, journal: &mut Journal) -> anyhow::Result<()> {
    share_disk(lab)?;
    let setup = Setup { failure_timeout_ms: TIMEOUT_MS, ..pair("busy,2", MEMORY_MIB, DiskMode::Shared) };
    let (secondary, address) = setup.secondary(&lab.b, "secondary")?;
    let primary = setup.primary(&lab.a, "primary", &address)?;
    await_console(lab, "primary", "services: ready", START_PATIENCE, || ensure_runs(&primary.running))?;
    primary.wait_protected(&lab.a)?;
    let mut scene = Scene {
        lab,
        sides: [Process::only(&lab.a, MEMORY_MIB)?, Process::only(&lab.b, MEMORY_MIB)?],
        primary,
        places: Places::of(&artefacts::guest_kernel()?)?,
        random: Random::new(seed),
        clients: Clients::start(seed)?,
        found: None,
    };
    let mut report = Report::default();
    let interval = Duration::from_secs(INTERVAL).min(length / FEWEST as u32);
    let begun = Instant::now();
    for number in 1.. {
        let round = scene.round(number, interval)?;
        journal.line(&format!("{:4.0} s: {round}", begun.elapsed().as_secs_f64()))?;
        report.add(round);
        if begun.elapsed() >= length && number >= FEWEST {
            break;
        }
    }
    scene.await_first_counts(&report)?;
    let unmade = heal::unmade(&scene.primary.status(&lab.a)?, scene.found);
    let Scene { primary, clients, .. } = scene;
    let verdict = clients.finish()?;
    clients::shut_down()?;
    for member in [primary, secondary] {
        let ended = member.running.wait_end(PATIENCE)?;
        ensure!(ended == Ended::Status(0), "the guest ended with {ended:?}: {}", member.running.log());
    }
    journal.line(&format!("{} increments and {} rows, all there", verdict.increments(), verdict.rows()))?;
    journal.line(&report.table(&verdict))?;
    ensure!(
        report.unmade() + unmade.len() == 0,
        "the two sides differed where nobody had made them: {unmade:?}"
    );
    report.is_flat()
}

/// The pair at work.
struct Scene<'a> {
    lab: &'a Lab,
    sides: [Process<'a>; 2],
    primary: Member,
    places: Places,
    random: Random,
    clients: Clients,
    /// The position of the last difference.
    found: Option<u64>,
}

impl Scene<'_> {
    /// Has one difference healed, and clients served until the interval is over.
    fn round(&mut self, number: u64, interval: Duration) -> anyhow::Result<Round> {
        let due = self.clients.elapsed() + interval;
        let heal = self.heal()?;
        self.say_that_it_shall_go_on()?;
        while self.clients.elapsed() < due {
            self.clients.await_answers(1)?;
        }
        let deltas = self.primary.status(&self.lab.a)?.deltas;
        let sides = [self.sides[0].footprint()?, self.sides[1].footprint()?];
        Ok(Round { number, heal, deltas, sides, checked: self.clients.check()? })
    }

    /// What an operator does who trusts the secondary's host in spite of what was seen. The fourth divergence in ten minutes
    /// would not be healed without it.
    fn say_that_it_shall_go_on(&self) -> anyhow::Result<()> {
        let before = self.primary.wait_protected(&self.lab.a)?;
        self.primary.ask(&self.lab.a, "suspend")?;
        self.primary.ask(&self.lab.a, "resume")?;
        self.wait_protected_after(&before).map(drop)
    }

    fn heal(&mut self) -> anyhow::Result<Heal> {
        let before = self.primary.wait_protected(&self.lab.a)?;
        let unmade = heal::unmade(&before, self.found);
        let place = self.places.any(&mut self.random);
        let moment = self.clients.elapsed();
        self.sides[1].overwrite(place.address, place.byte)?;
        let after = self.wait_protected_after(&before).with_context(|| format!("damage: {place:?}"))?;
        let guest_kib = self.sides[0].footprint()?.guest_kib;
        let heal = Heal::of(place.name, moment, unmade, &before, &after, guest_kib)
            .with_context(|| format!("{after:?}"))?;
        self.found = Some(heal.position);
        Ok(heal)
    }

    fn wait_protected_after(&self, before: &Status) -> anyhow::Result<Status> {
        let again =
            |status: &Status| status.state == State::Protected && status.generation > before.generation;
        self.primary.wait_status(&self.lab.a, "protected again", again)
    }

    /// Descriptors and threads are what they were after the first heal; what is about to end is waited for.
    fn await_first_counts(&self, report: &Report) -> anyhow::Result<()> {
        for (side, first) in self.sides.iter().zip(report.first_sides()?) {
            let what = format!("as few descriptors and threads as after the first heal: {first:?}");
            wait::until(&what, PATIENCE, || {
                let now = side.footprint()?;
                Ok((now.descriptors <= first.descriptors && now.threads <= first.threads).then_some(()))
            })?;
        }
        Ok(())
    }
}
