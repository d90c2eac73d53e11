//! Random kills under load, and the history of all clients afterwards.

use std::{thread, time::Duration};

use anyhow::Context;
use ftvmm::{
    control::State,
    demo::{
        client::{Load, Mix},
        pair::Member,
        random::Random,
    },
};
use ftvmm_tests::{
    harness,
    stage::{self, PATIENCE, Pair, Stage},
};

use super::{SOON, THINKING, TIMEOUT_MS, wait_alone};

/// How many kills there are unless `FTVMM_KILLS` says otherwise.
const KILLS: u64 = 30;
/// Kills come within this time after the pair is protected, or a new secondary was asked for.
const WITHIN_MS: u64 = 250;

#[test]
fn random_kills_lose_and_repeat_nothing() {
    let (seed, kills) = (harness::seed(), harness::number("FTVMM_KILLS").unwrap_or(KILLS));
    stage::play(TIMEOUT_MS, |stage| {
        let mut random = Random::new(seed);
        let mut pair = stage.pair()?;
        let load = stage.load(Mix::Mixed, THINKING, seed)?;
        let mut done = Tally::default();
        for kill in 0..kills {
            pair = blow(stage, pair, &load, &mut random, &mut done)
                .with_context(|| format!("kill {kill} of {kills}, FTVMM_SEED={seed}"))?;
        }
        println!("killed: {done:?}");
        stage::judge(load).with_context(|| format!("FTVMM_SEED={seed}"))?;
        Ok(())
    });
}

/// Who was killed how often.
#[derive(Debug, Default)]
pub struct Tally {
    primaries: u32,
    secondaries: u32,
    while_seeding: u32,
}

/// A kill, and the VM protected again. The primary or the secondary, and now and then the next secondary while it is
/// seeded.
pub fn blow(
    stage: &Stage,
    mut pair: Pair,
    load: &Load,
    random: &mut Random,
    done: &mut Tally,
) -> anyhow::Result<Pair> {
    // In real time: the test is about moments, and the load goes on meanwhile.
    thread::sleep(Duration::from_millis(random.below(WITHIN_MS)));
    if random.below(2) == 0 {
        done.primaries += 1;
        pair.primary.process.kill()?;
        pair.secondary.wait_takeover()?;
        pair = protect(stage, pair.secondary)?;
    } else {
        done.secondaries += 1;
        pair.secondary.process.kill()?;
        wait_alone(&mut pair.primary)?;
        pair = protect(stage, pair.primary)?;
    }
    if random.below(3) == 0 {
        thread::sleep(Duration::from_millis(random.below(WITHIN_MS / 4)));
        done.while_seeding += u32::from(pair.primary.status()?.state == State::Seeding);
        pair.secondary.process.kill()?;
        wait_alone(&mut pair.primary)?;
        pair = protect(stage, pair.primary)?;
    }
    pair.primary.wait_protected()?;
    load.await_answers(1, PATIENCE)?;
    Ok(pair)
}

/// Starts a new secondary and asks for it, without waiting.
fn protect(stage: &Stage, primary: Member) -> anyhow::Result<Pair> {
    let (secondary, address) = stage.secondary(&[&primary])?;
    primary.protect(&address)?;
    Ok(Pair { primary, secondary, address })
}

#[test]
fn a_secondary_that_dies_while_it_is_seeded_costs_nothing() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = stage.pair()?;
        let load = stage.load(Mix::Count, THINKING, 0)?;
        let mut caught = 0;
        for _ in 0..20 {
            secondary.process.kill()?;
            wait_alone(&mut primary)?;
            let pair = protect(stage, primary)?;
            (primary, secondary) = (pair.primary, pair.secondary);
            let seeding = |state| matches!(state, State::Seeding | State::Protected);
            let status = primary.wait_status("seeding", SOON, |status| seeding(status.state))?;
            caught += u32::from(status.state == State::Seeding);
        }
        assert!(caught > 0, "no kill hit the seeding");
        secondary.process.kill()?;
        wait_alone(&mut primary)?;
        let mut pair = protect(stage, primary)?;
        pair.primary.wait_protected()?;
        stage::judge(load)?;
        Ok(())
    });
}

#[test]
fn sides_that_poll_busily_lose_nothing_either() {
    stage::play(TIMEOUT_MS, |stage| {
        let options = ["--busy-poll", "300"].map(str::to_owned).to_vec();
        let setup = stage.setup_with(options);
        let Pair { mut primary, mut secondary, .. } = stage.pair_of(&setup)?;
        let load = stage.load(Mix::Count, THINKING, 0)?;
        load.await_answers(100, PATIENCE)?;
        primary.process.kill()?;
        secondary.wait_takeover()?;
        load.await_answers(100, PATIENCE)?;
        stage::judge(load)?;
        Ok(())
    });
}
