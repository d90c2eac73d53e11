//! A guest that runs on while its memory is sent.

use std::time::Duration;

use anyhow::{Context, ensure};
use ftvmm::{
    control::{Request, SeedReport, State, Status},
    demo::{
        client::Mix,
        pair::{Member, Place},
    },
};
use ftvmm_tests::{
    stage::{self, PATIENCE, Pair, Stage},
    way::{Way, Wire},
};

use super::{SOON, THINKING, TIMEOUT_MS, survive_the_primary, wait_alone};

/// Writes its memory all the time, and comes to a sync point every few milliseconds.
const WRITER: [&str; 2] = ["--cmdline", "rounds=100000000 passes=100"];
/// What it writes takes much longer over this than its stop may.
const NARROW: Wire = Wire { delay: Duration::from_millis(1), bytes_per_second: 100 << 10 };

/// A primary that is seeding a secondary over such a wire.
fn seeding(stage: &Stage, wire: Wire) -> anyhow::Result<(Member, Member)> {
    let mut setup = stage.setup.clone();
    "builtin:compute".clone_into(&mut setup.kernel);
    setup.primary_options = WRITER.map(str::to_owned).to_vec();
    let place = |taken: &[&Member]| Place::here(stage.free_tap(taken));
    let (secondary, address) = setup.secondary(&stage.name("secondary"), place(&[]))?;
    let way = Way::open(&address, wire)?;
    let primary = setup.primary(&stage.name("primary"), place(&[&secondary]), way.address())?;
    Ok((primary, secondary))
}

fn is_slowed(status: &Status) -> bool {
    status.seeding.as_ref().is_some_and(|seeding| seeding.slowed_percent > 0)
}

/// Position and virtual time go on.
fn wait_running(primary: &mut Member) -> anyhow::Result<()> {
    let before = primary.status()?.position;
    primary.wait_status("running", SOON, |status| status.position > before + 10).map(drop)
}

#[test]
fn a_guest_that_writes_more_than_is_carried_is_slowed_until_its_seed_is_whole() {
    stage::play(TIMEOUT_MS, |stage| {
        let (mut primary, mut secondary) = seeding(stage, NARROW)?;
        let slowed = primary.wait_status("slowed", 2 * SOON, is_slowed)?;
        let seeding = slowed.seeding.context("it is slowed for a seed")?;
        ensure!(seeding.round > 1 && seeding.sent_bytes > 0, "{seeding:?}");
        wait_running(&mut primary)?;
        let status = primary.wait_status("protected", 4 * SOON, |status| status.state == State::Protected)?;
        ensure!(status.seeding.is_none(), "{status:?}");
        let seed = status.seed.context("the seed is told of")?;
        ensure!(
            seed.rounds > 1 && seed.stop.total_ms > 0.0 && seed.total_ms > seed.stop.total_ms,
            "{seed:?}"
        );
        primary.process.kill()?;
        wait_alone(&mut secondary)?;
        wait_running(&mut secondary)
    });
}

#[test]
fn a_seed_that_is_called_off_leaves_the_guest_as_fast_as_it_was() {
    stage::play(TIMEOUT_MS, |stage| {
        let (mut primary, secondary) = seeding(stage, NARROW)?;
        primary.wait_status("slowed", 2 * SOON, is_slowed)?;
        primary.ask(&Request::TurnOff)?;
        let alone = wait_alone(&mut primary)?;
        ensure!(alone.seeding.is_none(), "{alone:?}");
        wait_running(&mut primary)?;
        drop(secondary);
        // Nothing of it is left that would be in the way of another.
        let setup = stage.setup.clone();
        let place = Place::here(stage.free_tap(&[&primary]));
        let (mut other, address) = setup.secondary(&stage.name("secondary"), place)?;
        let control = primary.control().to_str().context("the socket's path is no text")?;
        let asked = stage.ftvmm(&["protect", "--to", &address, "--wait", "--control", control, "--json"])?;
        ensure!(asked.status.success(), "{asked:?}");
        let seed: SeedReport = serde_json::from_slice(&asked.stdout)?;
        ensure!(seed.stop.total_ms > 0.0 && seed.unprotected_ms.is_none(), "{seed:?}");
        ensure!(primary.status()?.state == State::Protected, "it was to be waited for");
        primary.process.kill()?;
        wait_alone(&mut other)?;
        wait_running(&mut other)
    });
}

/// Again and again: each time some page may be the one that is forgotten.
#[test]
fn a_guest_that_serves_is_seeded_without_anybody_noticing() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = stage.pair()?;
        let load = stage.load(Mix::Mixed, THINKING, 3)?;
        load.await_answers(100, PATIENCE)?;
        for _ in 0..10 {
            primary.ask(&Request::TestRestartSecondary)?;
            let again = |status: &Status| status.state == State::Protected;
            primary.wait_status("let go", SOON, |status| !again(status))?;
            let status = primary.wait_status("protected again", SOON, again)?;
            ensure!(status.seed.is_some(), "{status:?}");
        }
        survive_the_primary(&mut primary, &mut secondary, load)
    });
}
