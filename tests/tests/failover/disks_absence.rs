//! A host that was away for a short time comes back with its copy of the disk, and only what was written since is
//! compared: it is protected again soon, and the copies are equal.

use std::fs;

use anyhow::{Context, ensure};
use ftvmm::{
    control::Status,
    demo::{
        client::{Connection, Mix},
        random::Random,
    },
};
use ftvmm_tests::{
    harness, ledger,
    stage::{self, PATIENCE, guest},
};

use super::{SOON, THINKING, TIMEOUT_MS, disks_scene::Scene, ok, wait_alone};

const ROUNDS: u64 = 6;

fn has_base(status: &Status) -> bool {
    status.disks[0].base.is_some()
}

/// How many MiB were compared for the protection that is there now.
fn compared(status: &Status) -> anyhow::Result<f64> {
    let told = status.events.iter().rev().find(|event| event.text.starts_with("disk 0: "));
    let text = &told.context("it does not say what is compared")?.text;
    text.split(' ').nth(2).and_then(|mib| mib.parse().ok()).with_context(|| text.clone())
}

#[test]
fn a_host_that_was_away_gets_what_was_written_since_and_no_more() {
    let seed = harness::seed();
    stage::play(TIMEOUT_MS, |stage| {
        let mut random = Random::new(seed);
        let mut scene = Scene::open(stage)?;
        scene.differ()?;
        let (mut follower, _) = scene.protect()?;
        scene.primary.wait_protected()?;
        let whole = compared(&scene.primary.status()?)?;
        let load = stage.load(Mix::Mixed, THINKING, seed)?;
        for member in [&mut scene.primary, &mut follower] {
            member.wait_status("a base", SOON, has_base)?;
        }
        for round in 0..ROUNDS {
            // Now and then the next loss comes before there is another base.
            if random.below(2) == 0 {
                load.await_answers(random.below(400), PATIENCE)?;
            }
            if random.below(2) == 0 {
                scene.primary.process.kill()?;
                follower.wait_takeover()?;
                (scene.primary, scene.live) = (follower, 1 - scene.live);
            } else {
                follower.process.kill()?;
                wait_alone(&mut scene.primary)?;
            }
            load.await_answers(100, PATIENCE)?;
            (follower, _) = scene.protect()?;
            scene.primary.wait_protected()?;
            let part = compared(&scene.primary.status()?)?;
            println!("round {round}: {part} of {whole} MiB compared");
            ensure!(
                part < whole / 2.0,
                "round {round}: {part} of {whole} MiB were compared, FTVMM_SEED={seed}"
            );
        }
        stage::judge(load)?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        ensure!(client.call(&[b"SHUTDOWN"])? == ok(), "SHUTDOWN is refused");
        for process in [&mut scene.primary.process, &mut follower.process] {
            let status = process.wait_end(SOON)?;
            ensure!(status.code() == Some(0), "{}: {status}: {}", process.name(), process.log());
        }
        let [ours, theirs] = &scene.files;
        ensure!(fs::read(ours)? == fs::read(theirs)?, "the copies differ, FTVMM_SEED={seed}");
        ensure!(!ledger::read(theirs)?.is_empty(), "there is nothing in the ledger");
        Ok(())
    });
}
