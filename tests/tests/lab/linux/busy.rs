//! Programs of any user compute without a system call, four at once: the guest serves its clients nevertheless, is
//! protected, and survives a power failure.

use anyhow::{Context, ensure};
use ftlog::DiskMode;
use ftvmm_tests::{
    harness,
    lab::{self, Ended, Lab},
};

use super::{
    Journal, PATIENCE, await_console,
    clients::{self, Clients},
    pair, plan_without_disks,
    replay::ensure_runs,
    share_disk,
};

const MEMORY_MIB: u32 = 192;
/// Answers of each service before the power fails, and after.
const ANSWERS: usize = 20;

#[test]
fn linux_that_computes_serves_and_survives_a_power_failure() {
    let seed = harness::seed();
    lab::play(plan_without_disks, |lab| {
        let mut journal = Journal::open("busy")?;
        serve(lab, seed, &mut journal).with_context(|| format!("FTVMM_SEED={seed}"))
    });
}

fn serve(lab: &mut Lab, seed: u64, journal: &mut Journal) -> anyhow::Result<()> {
    share_disk(lab)?;
    let setup = pair("busy,4", MEMORY_MIB, DiskMode::Shared);
    let (secondary, address) = setup.secondary(&lab.b, "secondary")?;
    let primary = setup.primary(&lab.a, "primary", &address)?;
    await_console(lab, "primary", "services: ready", PATIENCE, || ensure_runs(&primary.running))?;
    primary.wait_protected(&lab.a)?;
    let clients = Clients::start(seed)?;
    clients.await_answers(ANSWERS)?;
    let deltas = primary.status(&lab.a)?.deltas;
    ensure!(deltas.count > 0, "nothing computes: {deltas:?}");
    journal.line(&format!("four programs compute, the services answer: {deltas:?}"))?;

    let moment = clients.elapsed();
    lab.a.power_off_now()?;
    secondary.wait_status(&lab.b, "the primary", |status| status.takeover.is_some())?;
    clients.await_answers(ANSWERS)?;
    let verdict = clients.finish()?;
    verdict.check()?;
    clients::shut_down()?;
    let ended = secondary.running.wait_end(PATIENCE)?;
    ensure!(ended == Ended::Status(0), "the guest ended with {ended:?}: {}", secondary.running.log());
    journal.line(&format!(
        "host a (primary) lost power: {} increments and {} rows acknowledged, all there; at most {:.1} s without an answer",
        verdict.increments(),
        verdict.rows(),
        verdict.silence_s(moment)
    ))
}
