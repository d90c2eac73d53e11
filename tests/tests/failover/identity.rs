//! One VM, whatever restarts: starting it again is a claim like any other.

use std::{fs, os::unix::fs::symlink};

use anyhow::ensure;
use ftlog::DiskMode;
use ftvmm::{
    control::{Role, State},
    demo::{
        client::{Action, Connection, Reply},
        pair::{Place, Setup},
    },
};
use ftvmm_tests::{
    hosts::Hosts,
    stage::{self, PATIENCE, Pair, Stage, guest},
};

use super::{SOON, TIMEOUT_MS, wait_alone};

/// The exit status of a start that was refused.
const REFUSED: i32 = 4;

/// Starts a primary as before, which is refused; gives what it says.
fn refused(stage: &Stage, setup: &Setup, tap: &str, peer: &str) -> anyhow::Result<String> {
    let place = stage.equip(Place::here(tap));
    let mut again = setup.primary(&stage.name("again"), place, peer)?;
    let status = again.process.wait_end(SOON)?;
    let said = again.process.log();
    ensure!(status.code() == Some(REFUSED), "{status}: {said}");
    Ok(said)
}

/// The primary dies, the secondary goes on, and the primary's unit file runs the same command again.
fn a_primary_that_comes_back(stage: &Stage) -> anyhow::Result<()> {
    let Pair { mut primary, mut secondary, address } = stage.pair()?;
    let mut client = Connection::open(guest(), PATIENCE)?;
    assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(1));
    primary.process.kill()?;
    wait_alone(&mut secondary)?;
    assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(2));
    for force in [false, true] {
        let mut setup = stage.setup.clone();
        setup.primary_options = if force { vec!["--force".into()] } else { Vec::new() };
        let said = refused(stage, &setup, &primary.tap, &address)?;
        ensure!(said.contains("lives on") && said.contains("since"), "{said}");
        // Nor does it start when the one who knows best does not answer.
        let said = refused(stage, &setup, &primary.tap, "127.0.0.1:1")?;
        ensure!(said.contains("runs on this host already"), "{said}");
    }
    // The other side was told as well, and is what it was.
    let status = secondary.status()?;
    ensure!(status.role == Role::Primary && status.state == State::Unprotected, "{status:?}");
    let told = |text: &str| text.contains("wanted to start") && text.contains("refused");
    ensure!(status.events.iter().any(|event| told(&event.text)), "{:?}", status.events);
    assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(3));
    Ok(())
}

#[test]
fn a_primary_that_comes_back_is_told_where_its_vm_lives() {
    stage::play(TIMEOUT_MS, a_primary_that_comes_back);
}

#[test]
fn a_primary_that_comes_back_leaves_a_shared_disk_alone() {
    stage::play_with_disk(DiskMode::Shared, TIMEOUT_MS, a_primary_that_comes_back);
}

#[test]
fn a_primary_that_comes_back_does_not_start_from_its_old_copy() {
    stage::play_with_disk(DiskMode::Replicated, TIMEOUT_MS, a_primary_that_comes_back);
}

/// A primary that dies and is started again before its secondary has noticed: the secondary has the VM.
#[test]
fn a_primary_that_is_back_before_the_takeover_leaves_the_vm_to_the_secondary() {
    stage::play(60_000, |stage| {
        let Pair { mut primary, mut secondary, address } = stage.pair()?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(1));
        // Stopped, the secondary notices nothing, and its listener answers nobody: the one who starts waits.
        secondary.process.stop()?;
        primary.process.kill()?;
        let place = Place::here(&primary.tap);
        let mut again = stage.setup.primary(&stage.name("again"), place, &address)?;
        again.wait_status("waiting", SOON, |status| {
            status.events.iter().any(|event| event.text.contains("may be taking the VM over"))
        })?;
        secondary.process.go_on()?;
        let status = again.process.wait_end(SOON)?;
        ensure!(status.code() == Some(REFUSED), "{status}: {}", again.process.log());
        wait_alone(&mut secondary)?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(2));
        Ok(())
    });
}

/// Both are down, without a word; whoever was the VM last starts it again, in the next generation.
#[test]
fn after_both_were_down_the_last_holder_starts_and_another_host_needs_force() {
    stage::play_on_hosts(TIMEOUT_MS, both_down);
}

fn both_down(stage: &Stage, hosts: &Hosts) -> anyhow::Result<()> {
    let (mut secondary, at_b) = stage.setup.secondary("b1", hosts.b())?;
    let mut primary = stage.setup.primary("a1", hosts.a(), &at_b)?;
    primary.wait_protected()?;
    secondary.process.kill()?;
    wait_alone(&mut primary)?;
    primary.process.kill()?;
    let mut again = stage.setup.primary("a2", hosts.a(), &at_b)?;
    wait_alone(&mut again)?;
    assert_eq!(again.status()?.generation, 3);
    again.process.signal(rustix::process::Signal::TERM)?;
    again.process.wait_end(SOON)?;

    // It ended in order, so anybody may start it.
    let mut elsewhere = stage.setup.primary("b2", hosts.b(), "10.78.0.1:1")?;
    wait_alone(&mut elsewhere)?;
    assert_eq!(elsewhere.status()?.generation, 4);
    elsewhere.process.kill()?;

    // That host cannot be seen, so it may still run it; until somebody there says that it does not.
    let mut blind = stage.setup.primary("a3", hosts.a(), &at_b)?;
    let status = blind.process.wait_end(SOON)?;
    let said = blind.process.log();
    ensure!(status.code() == Some(REFUSED) && said.contains("host-b") && said.contains("--force"), "{said}");
    let (_listens, at_b) = stage.setup.secondary("b3", hosts.b())?;
    let mut told = stage.setup.primary("a4", hosts.a(), &at_b)?;
    told.wait_protected()?;
    assert_eq!(told.status()?.generation, 5);
    told.process.kill()?;
    Ok(())
}

#[test]
fn a_start_that_is_forced_says_what_it_risks() {
    stage::play_on_hosts(TIMEOUT_MS, |stage, hosts| {
        let mut lost = stage.setup.primary("b", hosts.b(), "10.78.0.1:1")?;
        wait_alone(&mut lost)?;
        lost.process.kill()?;
        let setup = Setup { primary_options: vec!["--force".into()], ..stage.setup.clone() };
        let mut forced = setup.primary("a", hosts.a(), "10.78.0.2:1")?;
        wait_alone(&mut forced)?;
        let status = forced.status()?;
        assert_eq!(status.generation, 2);
        let told = |text: &str| text.contains("started although") && text.contains("host-b");
        ensure!(status.events.iter().any(|event| told(&event.text)), "{status:?}");
        Ok(())
    });
}

/// The mount of the arbiter goes away on one side, and an ordinary directory lies below; then the link is cut.
#[test]
fn a_side_that_has_lost_its_arbiter_gets_no_answer_from_what_lies_below() {
    stage::play_on_hosts(TIMEOUT_MS, |stage, hosts| {
        let path = stage.directory().join("arbiter-of-b");
        symlink(&stage.setup.arbiter, &path)?;
        let on_b = Setup { arbiter: path.clone(), ..stage.setup.clone() };
        let (mut secondary, address) = on_b.secondary("secondary", hosts.b())?;
        let mut primary = stage.setup.primary("primary", hosts.a(), &address)?;
        primary.wait_protected()?;
        fs::remove_file(&path)?;
        fs::create_dir(&path)?;
        hosts.cut()?;
        wait_alone(&mut primary)?;
        let unanswered = |text: &str| text.contains("still mounted");
        secondary.wait_status("without an answer", SOON, |status| {
            status.state == State::Arbitrating && status.events.iter().any(|event| unanswered(&event.text))
        })?;
        assert_eq!(fs::read_dir(&path)?.count(), 0, "nothing is claimed there");
        // The arbiter is back, and says that the VM is elsewhere.
        fs::remove_dir(&path)?;
        symlink(&stage.setup.arbiter, &path)?;
        secondary.wait_status("done with it", SOON, |status| status.state == State::Listening)?;
        primary.process.expect_alive()?;
        Ok(())
    });
}
