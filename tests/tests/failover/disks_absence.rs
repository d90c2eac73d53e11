//! A host that was away for a short time comes back with its copy of the disk, and only what was written since is
//! compared: it is protected again soon, and the copies are equal.

use std::{fs, path::PathBuf};

use anyhow::{Context, ensure};
use ftlog::DiskMode;
use ftvmm::{
    control::Status,
    demo::{
        client::{Connection, Mix},
        pair::{Member, Place},
        random::Random,
    },
};
use ftvmm_tests::{
    disks, harness, ledger,
    stage::{self, PATIENCE, Stage, guest},
};

use super::{SOON, THINKING, TIMEOUT_MS, ok, wait_alone};

const BYTES: u64 = 64 << 20;
const ROUNDS: u64 = 6;

/// Two hosts with a copy each.
struct Hosts<'a> {
    stage: &'a Stage,
    files: [PathBuf; 2],
    options: [[String; 1]; 2],
    started: u32,
}

impl<'a> Hosts<'a> {
    fn new(stage: &'a Stage) -> anyhow::Result<Self> {
        let files = ["a.disk", "b.disk"].map(|name| stage.directory().join(name));
        files.iter().try_for_each(|file| disks::create_empty(file, BYTES))?;
        disks::fill_with_garbage(&files[1])?;
        let options = files.each_ref().map(|file| [disks::option(file, DiskMode::Replicated)]);
        Ok(Self { stage, files, options, started: 0 })
    }

    fn place(&self, side: usize) -> Place<'_> {
        Place { disks: &self.options[side], ..Place::here(["tap-a", "tap-b"][side]) }
    }

    fn secondary(&mut self, side: usize) -> anyhow::Result<(Member, String)> {
        self.started += 1;
        let mut setup = self.stage.setup.clone();
        "builtin:ledger".clone_into(&mut setup.kernel);
        setup.secondary(&format!("secondary-{}", self.started), self.place(side))
    }
}

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
        let mut hosts = Hosts::new(stage)?;
        let (mut follower, address) = hosts.secondary(1)?;
        let mut setup = stage.setup.clone();
        "builtin:ledger".clone_into(&mut setup.kernel);
        let mut live = setup.primary("primary", hosts.place(0), &address)?;
        live.wait_protected()?;
        let whole = compared(&live.status()?)?;
        let load = stage.load(Mix::Mixed, THINKING, seed)?;
        for member in [&mut live, &mut follower] {
            member.wait_status("a base", SOON, has_base)?;
        }
        let mut lives_on = 0;
        for round in 0..ROUNDS {
            // Now and then the next loss comes before there is another base.
            if random.below(2) == 0 {
                load.await_answers(random.below(400), PATIENCE)?;
            }
            if random.below(2) == 0 {
                live.process.kill()?;
                follower.wait_takeover()?;
                live = follower;
                lives_on = 1 - lives_on;
            } else {
                follower.process.kill()?;
                wait_alone(&mut live)?;
            }
            load.await_answers(100, PATIENCE)?;
            let (next, address) = hosts.secondary(1 - lives_on)?;
            follower = next;
            live.protect(&address)?;
            live.wait_protected()?;
            let part = compared(&live.status()?)?;
            println!("round {round}: {part} of {whole} MiB compared");
            ensure!(
                part < whole / 2.0,
                "round {round}: {part} of {whole} MiB were compared, FTVMM_SEED={seed}"
            );
        }
        stage::judge(load)?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        ensure!(client.call(&[b"SHUTDOWN"])? == ok(), "SHUTDOWN is refused");
        for process in [&mut live.process, &mut follower.process] {
            let status = process.wait_end(SOON)?;
            ensure!(status.code() == Some(0), "{}: {status}: {}", process.name(), process.log());
        }
        ensure!(
            fs::read(&hosts.files[0])? == fs::read(&hosts.files[1])?,
            "the copies differ, FTVMM_SEED={seed}"
        );
        ensure!(!ledger::read(&hosts.files[1])?.is_empty(), "there is nothing in the ledger");
        Ok(())
    });
}
