//! Power failures of either host under load, and cuts of the network between them: what Redis and SQLite have
//! acknowledged stays, the connections of their clients go on, and the file system is whole in the end.

mod ending;
mod scene;

use anyhow::Context;
use ftlog::DiskMode;
use ftvmm::demo::random::Random;
use ftvmm_tests::{harness, lab};

use self::scene::Scene;
use super::{Journal, clients::Clients, plan, plan_without_disks};

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
