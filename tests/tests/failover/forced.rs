//! `--force` while the VM lives elsewhere, unseen: the side that has it looks at the arbiter, and halts before the
//! forced one starts.

use std::{fs, os::unix::fs::symlink};

use anyhow::ensure;
use ftvmm::{
    control::{State, Status},
    demo::{
        client::{Action, Connection, Reply},
        net,
        pair::{Member, Place, Setup},
    },
};
use ftvmm_tests::{
    hosts::Hosts,
    stage::{self, PATIENCE, Pair, Stage, guest},
};

use super::{SOON, TIMEOUT_MS, wait_alone};

/// Where nobody answers.
const NOBODY: &str = "10.78.0.77:1";
/// The exit status of a side that has halted.
const HALTED: i32 = 3;

/// Starts the VM at `place`, whatever is lost by it.
fn force(stage: &Stage, place: Place<'_>, peer: &str) -> anyhow::Result<Member> {
    let setup = Setup { primary_options: vec!["--force".into()], ..stage.setup.clone() };
    setup.primary(&stage.name("forced"), place, peer)
}

/// Forces the VM at `place`, and waits until `live` has halted because of it; the guest has not run there before that,
/// and does then, alone.
fn hands_over(stage: &Stage, live: &mut Member, place: Place<'_>, peer: &str) -> anyhow::Result<()> {
    let frames = || net::frames_emitted(place.namespace, place.tap);
    let before = frames()?;
    let mut forced = force(stage, place, peer)?;
    let status = live.process.wait_end(SOON)?;
    let said = live.process.log();
    ensure!(status.code() == Some(HALTED) && said.contains("has started the VM as generation"), "{said}");
    ensure!(frames()? == before, "both have spoken");
    let status = forced.status()?;
    ensure!(status.state == State::Starting && told(&status, "the guest starts in"), "{status:?}");
    wait_alone(&mut forced)?;
    ensure!(told(&forced.status()?, "may still run it"), "{:?}", forced.status()?);
    net::ip(None, &["neigh flush all".to_owned()])?;
    // It begins anew, as it said.
    count_to(1)
}

fn told(status: &Status, text: &str) -> bool {
    status.events.iter().any(|event| event.text.contains(text))
}

fn count_to(wanted: i64) -> anyhow::Result<()> {
    let mut client = Connection::open(guest(), PATIENCE)?;
    assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(wanted));
    Ok(())
}

/// A primary has no listener, so nobody can ask it.
#[test]
fn a_primary_alone_halts_before_the_forced_one_runs() {
    stage::play_on_hosts(TIMEOUT_MS, |stage, hosts| {
        let mut live = stage.setup.primary("live", hosts.a(), NOBODY)?;
        wait_alone(&mut live)?;
        count_to(1)?;
        hands_over(stage, &mut live, hosts.b(), NOBODY)
    });
}

/// Taken over, and cut off from the host on which the VM is forced.
#[test]
fn a_side_that_took_over_halts_before_the_forced_one_runs() {
    stage::play_on_hosts(TIMEOUT_MS, |stage, hosts| {
        let (mut secondary, address) = stage.setup.secondary("b", hosts.b())?;
        let mut primary = stage.setup.primary("a", hosts.a(), &address)?;
        primary.wait_protected()?;
        count_to(1)?;
        primary.process.kill()?;
        wait_alone(&mut secondary)?;
        count_to(2)?;
        hosts.cut()?;
        hands_over(stage, &mut secondary, hosts.a(), &address)
    });
}

/// Protected by its secondary, it would notice nothing for as long as that is there.
#[test]
fn a_protected_pair_halts_for_a_forced_start_on_a_third_place() {
    stage::play_on_hosts(TIMEOUT_MS, |stage, hosts| {
        let (mut secondary, address) = stage.setup.secondary("b", hosts.b())?;
        let mut live = stage.setup.primary("a", hosts.a(), &address)?;
        live.wait_protected()?;
        count_to(1)?;
        net::ip(hosts.b().namespace, &net::tap_on_bridge("tap-c", "br0"))?;
        let third = Place { tap: "tap-c", ..hosts.b() };
        hands_over(stage, &mut live, third, NOBODY)?;
        secondary.wait_status("done with it", SOON, |status| status.state == State::Listening)?;
        Ok(())
    });
}

/// Not to see the arbiter is no verdict. Once it is seen again, what it says counts.
#[test]
fn a_side_that_cannot_see_the_arbiter_runs_on_and_says_so() {
    stage::play_on_hosts(TIMEOUT_MS, blinded);
}

fn blinded(stage: &Stage, hosts: &Hosts) -> anyhow::Result<()> {
    let path = stage.directory().join("arbiter-of-a");
    symlink(&stage.setup.arbiter, &path)?;
    let on_a = Setup { arbiter: path.clone(), ..stage.setup.clone() };
    let mut live = on_a.primary("live", hosts.a(), NOBODY)?;
    wait_alone(&mut live)?;
    let in_trouble = |status: &Status| status.troubles.iter().any(|trouble| trouble.what == "arbiter");
    for counted in [1, 2] {
        fs::remove_file(&path)?;
        live.wait_status("in trouble", SOON, in_trouble)?;
        count_to(counted)?;
        symlink(&stage.setup.arbiter, &path)?;
        live.wait_status("well again", SOON, |status| !in_trouble(status))?;
    }
    fs::remove_file(&path)?;
    let mut forced = force(stage, hosts.b(), NOBODY)?;
    // Here there are two, which cannot be helped, and both say what is wrong.
    wait_alone(&mut forced)?;
    live.wait_status("in trouble", SOON, |status| in_trouble(status) && status.state == State::Unprotected)?;
    symlink(&stage.setup.arbiter, &path)?;
    let status = live.process.wait_end(SOON)?;
    ensure!(status.code() == Some(HALTED), "{status}: {}", live.process.log());
    forced.process.expect_alive()
}

/// Who is known to be gone is not waited for.
#[test]
fn a_start_that_nobody_can_mind_does_not_wait() {
    stage::play_with_disk(ftlog::DiskMode::Replicated, TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = stage.pair()?;
        primary.process.kill()?;
        wait_alone(&mut secondary)?;
        secondary.process.kill()?;
        // Its copy is older, and the process that had the VM was one of this host.
        let mut forced = force(stage, stage.equip(Place::here(&primary.tap)), "127.0.0.1:1")?;
        wait_alone(&mut forced)?;
        let status = forced.status()?;
        ensure!(told(&status, "would be lost") && !told(&status, "the guest starts in"), "{status:?}");
        Ok(())
    });
}
