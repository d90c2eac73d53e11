//! A secondary whose memory was equal once gets what differs, and no more.

use anyhow::{Context, ensure};
use ftvmm::{
    control::{Request, SeedReport, State, Status},
    demo::{
        client::Mix,
        pair::{Member, Setup},
    },
};
use ftvmm_tests::{
    disks,
    stage::{self, PATIENCE, Pair, Stage},
};

use super::{SOON, THINKING, TIMEOUT_MS, survive_the_primary, was_never_turned_away};

/// Of the guest's memory that never changes, MiB.
const MIB: u64 = 16;

/// A pair whose guest has so much memory that does not change.
fn pair(stage: &Stage) -> anyhow::Result<Pair> {
    let garbage = stage.directory().join("garbage");
    disks::create_empty(&garbage, MIB << 20)?;
    disks::fill_with_garbage(&garbage)?;
    let options = ["--memory", "64", "--initrd", &garbage.display().to_string()].map(str::to_owned);
    stage.pair_of(&Setup { primary_options: options.to_vec(), ..stage.setup.clone() })
}

/// Waits until the primary has lost its secondary and is protected again; what its seed was.
fn protected_again(primary: &mut Member) -> anyhow::Result<SeedReport> {
    let is_protected = |status: &Status| status.state == State::Protected;
    primary.wait_status("unprotected", SOON, |status| !is_protected(status))?;
    primary.wait_status("protected again", SOON, is_protected)?.seed.context("it does not tell of the seed")
}

fn is_small(seed: &SeedReport) -> anyhow::Result<()> {
    ensure!(seed.sent_bytes < MIB << 18, "{seed:?}");
    println!("unprotected for {:?} ms, {} bytes sent", seed.unprotected_ms, seed.sent_bytes);
    ensure!(seed.unprotected_ms.is_some_and(|ms| ms >= seed.total_ms), "{seed:?}");
    Ok(())
}

#[test]
fn a_secondary_that_was_let_go_gets_what_differs_when_it_is_wanted_again() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = pair(stage)?;
        let first = primary.status()?.seed.context("it does not tell of the seed")?;
        ensure!(first.sent_bytes > MIB << 20, "{first:?}");
        let load = stage.load(Mix::Mixed, THINKING, 5)?;
        load.await_answers(100, PATIENCE)?;
        for _ in 0..3 {
            primary.ask(&Request::Suspend)?;
            load.await_answers(100, PATIENCE)?;
            primary.ask(&Request::Resume)?;
            let protected = |status: &Status| status.state == State::Protected;
            let status = primary.wait_status("protected again", SOON, protected)?;
            is_small(&status.seed.context("it does not tell of the seed")?)?;
            primary.ask(&Request::TestRestartSecondary)?;
            is_small(&protected_again(&mut primary)?)?;
        }
        was_never_turned_away(&primary.status()?)?;
        survive_the_primary(&mut primary, &mut secondary, load)
    });
}

#[test]
fn a_secondary_that_was_silent_for_too_long_gets_what_differs_when_it_is_back() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = pair(stage)?;
        let load = stage.load(Mix::Mixed, THINKING, 6)?;
        load.await_answers(100, PATIENCE)?;
        secondary.process.stop()?;
        primary.wait_status("alone", SOON, |status| status.state == State::Unprotected)?;
        load.await_answers(100, PATIENCE)?;
        secondary.process.go_on()?;
        let protected = |status: &Status| status.state == State::Protected;
        let status = primary.wait_status("protected again", 2 * SOON, protected)?;
        is_small(&status.seed.context("it does not tell of the seed")?)?;
        survive_the_primary(&mut primary, &mut secondary, load)
    });
}
