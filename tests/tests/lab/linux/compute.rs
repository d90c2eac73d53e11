//! A user process that computes without a system call: it is stopped where it is, and what leads there is in the log. It must
//! repeat all the same, and survive a power failure.

use std::{thread, time::Duration};

use anyhow::{Context, ensure};
use ftlog::DiskMode;
use ftvmm::demo::{random::Random, wait};
use ftvmm_tests::{
    harness,
    lab::{self, Ended, Lab},
};

use super::{
    Journal, PATIENCE, await_console, console, pair, plan,
    replay::{ensure_runs, record, replay_twice},
    share_disk,
};

const MEMORY_MIB: u32 = 128;
/// The stretch that ends the recorded computation, s of guest time.
const STRETCH_S: u64 = 2;
/// Stretches at least this long are what the power failure is to hit, s.
const LONG_S: f64 = 0.7;
/// Within this time after such a stretch, in a still longer one, the power fails.
const WITHIN_MS: u64 = 700;

#[test]
fn linux_that_computes_without_system_calls_replays_and_survives_a_power_failure() {
    let seed = harness::seed();
    lab::play(plan, |lab| {
        let mut journal = Journal::open("compute")?;
        let workload = format!("compute,{STRETCH_S}");
        let recorded = record(lab, &workload, MEMORY_MIB, |lab, record| {
            await_console(lab, "record", "WORKLOAD ", PATIENCE, || ensure_runs(record))
        })?;
        journal.line(&format!("what another process overslept: {}", recorded.summary))?;
        replay_twice(lab, recorded.took, &mut journal)?;
        fail_while_computing(lab, &mut Random::new(seed), &mut journal)
            .with_context(|| format!("FTVMM_SEED={seed}"))
    });
}

fn fail_while_computing(lab: &mut Lab, random: &mut Random, journal: &mut Journal) -> anyhow::Result<()> {
    // No copies to be compared: the machine is protected before it computes.
    share_disk(lab)?;
    let setup = pair(&format!("compute,{}", 4 * STRETCH_S), MEMORY_MIB, DiskMode::Shared);
    let (secondary, address) = setup.secondary(&lab.b, "secondary")?;
    let primary = setup.primary(&lab.a, "primary", &address)?;
    primary.wait_protected(&lab.a)?;
    wait::until("a long computation", PATIENCE, || {
        ensure_runs(&primary.running)?;
        Ok((longest_stretch(&console(lab, "primary")) >= LONG_S).then_some(()))
    })?;
    // In real time: the moment is in the middle of a stretch.
    let moment = random.below(WITHIN_MS);
    thread::sleep(Duration::from_millis(moment));
    lab.a.power_off_now()?;
    let taken = |status: &ftvmm::control::Status| status.takeover.is_some();
    let status = secondary.wait_status(&lab.b, "the primary", taken)?;
    await_console(lab, "secondary", "WORKLOAD compute: ok", PATIENCE, || Ok(()))?;
    let ended = secondary.running.wait_end(PATIENCE)?;
    ensure!(ended == Ended::Status(0), "the guest ended with {ended:?}: {}", secondary.running.log());
    let total = status.takeover.map_or(f64::NAN, |takeover| takeover.total_ms);
    journal.line(&format!(
        "host a (primary) lost power {moment} ms into a stretch; the guest ran on host b after {total:.0} ms, computed to \
         the end and powered off"
    ))
}

/// The longest time that the computation says a stretch took, s.
fn longest_stretch(console: &str) -> f64 {
    let times = console.lines().filter_map(|line| line.strip_prefix("compute: ")?.split_once(" steps in "));
    times.filter_map(|(_, rest)| rest.split(' ').next()?.parse().ok()).fold(0.0, f64::max)
}
