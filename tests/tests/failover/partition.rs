//! Two hosts that cannot hear each other any more, though both hear the clients.

use std::{thread, time::Duration};

use anyhow::ensure;
use ftvmm::{
    control::{Role, State},
    demo::{
        client::{Load, Mix},
        net,
        pair::{Member, Place},
        wait,
    },
};
use ftvmm_tests::{
    hosts::Hosts,
    stage::{self, PATIENCE, Pair, Stage},
    survivor,
};

use super::{SOON, THINKING, TIMEOUT_MS};

#[test]
fn hosts_cut_off_from_each_other_agree_on_one_that_goes_on() {
    stage::play_on_hosts(TIMEOUT_MS, cut_and_heal);
}

fn cut_and_heal(stage: &Stage, hosts: &Hosts) -> anyhow::Result<()> {
    let (mut secondary, address) = stage.setup.secondary("b", hosts.b())?;
    let mut primary = stage.setup.primary("a", hosts.a(), &address)?;
    primary.wait_protected()?;
    let load = stage.load(Mix::Mixed, THINKING, 5)?;
    hosts.cut()?;
    let primary_lives = wait::until("both hosts to decide", SOON, || decided(&mut primary, &secondary))?;
    println!("the {} goes on", if primary_lives { "primary" } else { "secondary" });

    let loser = if primary_lives { hosts.b() } else { hosts.a() };
    let silent = frames(loser)?;
    load.await_answers(300, PATIENCE)?;
    ensure!(frames(loser)? == silent, "the side that lost has spoken");

    // The loser learns nothing that would change its mind.
    hosts.heal()?;
    load.await_answers(300, PATIENCE)?;
    let live = u32::from(is_live(&mut primary)?) + u32::from(is_live(&mut secondary)?);
    ensure!(live == 1, "{live} sides are live");
    stage::judge(load)?;
    Ok(())
}

/// A power failure takes the wires with it: what the host had sent and the other had not received is gone, unlike
/// with a killed process, whose kernel still delivers.
#[test]
fn hosts_that_vanish_with_their_wires_lose_nothing_acknowledged() {
    stage::play_on_hosts(TIMEOUT_MS, |stage, hosts| {
        let (_pair, load) = power_failures(stage, hosts)?;
        stage::judge(load)?;
        Ok(())
    });
}

/// Three power failures of the primary's host; gives what is left, protected, and the load that goes on.
pub fn power_failures(stage: &Stage, hosts: &Hosts) -> anyhow::Result<(Pair, Load)> {
    let (a, b) = (stage.equip(hosts.a()), stage.equip(hosts.b()));
    let (mut secondary, mut address) = stage.setup.secondary("b", b)?;
    let mut primary = stage.setup.primary("a", a, &address)?;
    let load = stage.load(Mix::Mixed, THINKING, 10)?;
    for failed in [a, b, a] {
        primary.wait_protected()?;
        load.await_answers(50, PATIENCE)?;
        hosts.cut()?;
        // Long enough for answers to leave if nothing held them, too short for the primary to go on alone.
        thread::sleep(Duration::from_millis(TIMEOUT_MS / 3));
        primary.process.kill()?;
        let takeover = secondary.wait_takeover()?;
        ensure!(takeover.reason.contains("nothing heard"), "{}", takeover.reason);
        hosts.heal()?;
        let next;
        (next, address) = stage.setup.secondary(&stage.name("again"), failed)?;
        secondary.protect(&address)?;
        (primary, secondary) = (secondary, next);
    }
    primary.wait_protected()?;
    load.await_answers(50, PATIENCE)?;
    Ok((Pair { primary, secondary, address }, load))
}

/// Whether the primary goes on, once both have made up their minds.
///
/// # Errors
/// When both go on, or neither.
fn decided(primary: &mut Member, secondary: &Member) -> anyhow::Result<Option<bool>> {
    let of_primary = match primary.process.ended()? {
        Some(_) => State::Halted,
        None => primary.status().map_or(State::Arbitrating, |status| status.state),
    };
    survivor::primary_goes_on(of_primary, &secondary.status()?)
}

fn is_live(member: &mut Member) -> anyhow::Result<bool> {
    if member.process.ended()?.is_some() {
        return Ok(false);
    }
    let status = member.status()?;
    Ok(status.role == Role::Primary && status.state != State::Halted)
}

fn frames(place: Place<'_>) -> anyhow::Result<u64> {
    net::frames_emitted(place.namespace, place.tap)
}
