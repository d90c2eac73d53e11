//! What is known of a copy of a disk outlives every process: an older copy never overwrites a newer one, and a mixture
//! is never started from.

use std::fs;

use anyhow::ensure;
use ftlog::DiskMode;
use ftvmm::demo::{
    client::{Action, Connection, Reply},
    pair::Place,
    wait,
};
use ftvmm_tests::{
    disks,
    stage::{self, PATIENCE, Pair, guest},
};
use rustix::process::Signal;

use super::{SOON, TIMEOUT_MS, ftvmm, wait_alone};

/// Long enough to be caught while it is made equal.
const BYTES: u64 = 64 << 20;

/// A dies, B goes on alone and acknowledges writes, then B ends too; both units start as they did before.
#[test]
fn an_older_copy_neither_starts_nor_overwrites_a_newer_one() {
    stage::play_with_disk(DiskMode::Replicated, TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = stage.pair()?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(1));
        primary.process.kill()?;
        wait_alone(&mut secondary)?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(2));
        secondary.process.signal(Signal::TERM)?;
        secondary.process.wait_end(SOON)?;
        let newer = fs::read(stage.disks().file(&secondary.tap))?;

        let place = |tap| stage.equip(Place::here(tap));
        let (mut follower, address) = stage.setup.secondary("b2", place(&secondary.tap))?;
        let mut again = stage.setup.primary("a2", place(&primary.tap), &address)?;
        let status = again.process.wait_end(SOON)?;
        let said = again.process.log();
        ensure!(status.code() == Some(4) && said.contains("would be lost"), "{status}: {said}");

        // Forced, it starts from its old copy; the newer one is still not overwritten.
        let mut setup = stage.setup.clone();
        setup.primary_options = vec!["--force".into()];
        let mut forced = setup.primary("a3", place(&primary.tap), &address)?;
        let told = |loss: &Option<String>| {
            loss.as_ref()
                .is_some_and(|loss| loss.contains("started from an older copy") && loss.contains("--force"))
        };
        forced.wait_status("turned away", SOON, |status| told(&status.last_loss))?;
        follower.wait_status("aware of it", SOON, |status| told(&status.last_loss))?;
        ensure!(fs::read(stage.disks().file(&secondary.tap))? == newer, "the newer copy was touched");

        // Only the secondary's own --force gives it up.
        follower.process.kill()?;
        setup.secondary_options = vec!["--force".into()];
        let (follower, address) = setup.secondary("b3", place(&secondary.tap))?;
        forced.protect(&address)?;
        forced.wait_protected()?;
        let copies = [&primary.tap, &secondary.tap].map(|tap| fs::read(stage.disks().file(tap)));
        let [ours, theirs] = copies;
        ensure!(ours? == theirs?, "the copies differ");
        let status = follower.status()?;
        let path = stage.disks().file(&secondary.tap).display().to_string();
        let told = |text: &str| {
            [&path, "is overwritten with generation", "although", "started from an older copy"]
                .iter()
                .all(|words| text.contains(*words))
        };
        ensure!(status.events.iter().any(|event| told(&event.text)), "{:?}", status.events);
        Ok(())
    });
}

/// Both hosts lose power while the secondary's copy is made equal, twice in a row.
#[test]
fn a_half_made_copy_is_not_started_from_and_the_one_from_before_comes_back() {
    stage::play(TIMEOUT_MS, |stage| {
        let files = ["a.disk", "b.disk"].map(|name| stage.directory().join(name));
        files.iter().try_for_each(|file| disks::create_empty(file, BYTES))?;
        disks::fill_with_garbage(&files[0])?;
        disks::fill_with_garbage(&files[1])?;
        let before = fs::read(&files[1])?;
        let options = files.each_ref().map(|file| [disks::option(file, DiskMode::Replicated)]);
        let place = |side: usize| Place { disks: &options[side], ..Place::here(["tap-a", "tap-b"][side]) };
        let (stamp, path) = (files[1].with_file_name("b.disk.ftvmm"), files[1].display().to_string());
        let setup = &stage.setup;
        for round in 0..2 {
            let (mut secondary, address) = setup.secondary(&format!("b{round}"), place(1))?;
            let mut primary = setup.primary(&format!("a{round}"), place(0), &address)?;
            let held = fs::read(&files[1])?;
            wait::until("the copy to be a mixture", SOON, || {
                primary.process.expect_alive()?;
                let half = fs::read_to_string(&stamp).is_ok_and(|text| text.contains("\"half\""));
                Ok((half && fs::read(&files[1])? != held).then_some(()))
            })?;
            primary.process.kill()?;
            secondary.process.kill()?;
            let disk = format!("path={path}");
            let (code, said) = ftvmm(stage, &["run", "--disk", &disk])?;
            ensure!(code == Some(4) && said.contains("mixture") && said.contains("disk restore"), "{said}");
            let (code, said) = ftvmm(stage, &["disk", "show", &path, "--json"])?;
            ensure!(code == Some(0) && said.contains("\"state\":\"half\""), "{said}");
        }
        let (code, said) = ftvmm(stage, &["disk", "restore", &path])?;
        ensure!(code == Some(0), "{said}");
        ensure!(fs::read(&files[1])? == before, "the copy from before is not back");
        ensure!(
            !stamp.exists() && !files[1].with_file_name("b.disk.ftvmm-undo").exists(),
            "something is left"
        );
        let (code, said) = ftvmm(stage, &["disk", "restore", &path])?;
        ensure!(code == Some(4) && said.contains("nothing to bring back"), "{said}");
        Ok(())
    });
}

#[test]
fn a_run_without_the_pair_makes_a_copy_that_is_not_overwritten() {
    stage::play_with_disk(DiskMode::Replicated, TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = stage.pair()?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(1));
        secondary.process.kill()?;
        wait_alone(&mut primary)?;
        let file = stage.disks().file(&secondary.tap);
        let disk = format!("path={}", file.display());
        let before = fs::read(&file)?;
        let run = ["run", "--kernel", "builtin:exits", "--cmdline", "rounds=1", "--disk", &disk];
        let (code, said) = ftvmm(stage, &run)?;
        ensure!(code == Some(0) && said.contains("run alone"), "{said}");
        let (_follower, address) = stage.setup.secondary("b2", stage.equip(Place::here(&secondary.tap)))?;
        primary.protect(&address)?;
        primary.wait_status("turned away", SOON, |status| {
            status.last_loss.as_ref().is_some_and(|loss| loss.contains("was run from it alone"))
        })?;
        ensure!(fs::read(&file)? == before, "the copy was touched");
        Ok(())
    });
}

#[test]
fn a_shared_disk_that_is_another_file_is_refused() {
    stage::play_with_disk(DiskMode::Shared, TIMEOUT_MS, |stage| {
        let other = stage.directory().join("other.disk");
        disks::create_empty(&other, disks::DISK_BYTES)?;
        let options = [disks::option(&other, DiskMode::Shared)];
        let place = Place { disks: &options, ..Place::here("tap-b") };
        let (_secondary, address) = stage.setup.secondary("b", place)?;
        let mut primary = stage.setup.primary("a", stage.equip(Place::here("tap-a")), &address)?;
        primary.wait_status("turned away", SOON, |status| {
            status
                .last_loss
                .as_ref()
                .is_some_and(|loss| loss.contains("other.disk") && loss.contains("stamp"))
        })?;
        Ok(())
    });
}
