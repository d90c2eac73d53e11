//! Power failures of either host under load, and cuts of the network between them: what Redis and SQLite have
//! acknowledged stays, the connections of their clients go on, and the file system is whole in the end.

mod blows;
mod ending;
mod scene;

use anyhow::Context;
use ftlog::DiskMode;
use ftvmm::demo::random::Random;
use ftvmm_tests::{harness, lab};

use self::{blows::blows, scene::Scene};
use super::{Journal, clients::Clients, plan, plan_without_disks};

#[test]
fn linux_with_replicated_disks_survives_power_failures() {
    power_failures(DiskMode::Replicated);
}

#[test]
fn linux_with_a_shared_disk_survives_power_failures() {
    power_failures(DiskMode::Shared);
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
