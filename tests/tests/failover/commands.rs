//! What the operator can ask for, and what is refused because the VM would be lost.

use std::process::Output;

use anyhow::Context;
use ftvmm::{
    control::{State, Takeover},
    demo::{
        client::{Action, Connection, Mix, Reply},
        pair::Member,
    },
};
use ftvmm_tests::stage::{self, PATIENCE, Pair, Stage, guest};
use rustix::process::Signal;

use super::{SOON, THINKING, TIMEOUT_MS, wait_alone, wait_halted};

/// The exit status of a command that failed or was refused.
const FAILED: Option<i32> = Some(3);

fn command(stage: &Stage, name: &str, member: &Member) -> anyhow::Result<Output> {
    let control = member.control().to_str().context("the socket's path is no text")?;
    stage.ftvmm(&[name, "--control", control, "--json"])
}

fn assert_refused(output: &Output, reason: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), FAILED, "{said}");
    assert!(said.contains("refused") && said.contains(reason), "{said}");
}

/// Of a command whose name could be of the VM and is of its protection.
fn assert_answer_tells_protection_from_the_vm(output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("protection") && said.contains("runs on"), "{said}");
}

#[test]
fn test_failover_moves_the_vm_and_reports_the_takeover() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = stage.pair()?;
        let load = stage.load(Mix::Count, THINKING, 6)?;
        let output = command(stage, "test-failover", &primary)?;
        assert!(output.status.success(), "{output:?}");
        let last = String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned();
        let reported: Takeover =
            serde_json::from_str(&last).with_context(|| format!("no takeover: {last}"))?;
        let takeover = secondary.wait_takeover()?;
        assert_eq!(reported.generation, takeover.generation);
        wait_halted(&mut primary)?;

        let alone = command(stage, "test-failover", &secondary)?;
        assert_refused(&alone, "the VM would be lost");
        load.await_answers(100, PATIENCE)?;
        stage::judge(load)?;
        Ok(())
    });
}

#[test]
fn test_restart_secondary_seeds_it_again() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = stage.pair()?;
        let load = stage.load(Mix::Count, THINKING, 7)?;
        let seeds = |member: &Member| -> anyhow::Result<usize> {
            let events = member.status()?.events;
            Ok(events.iter().filter(|event| event.text.contains("following the primary")).count())
        };
        let before = seeds(&secondary)?;
        let output = command(stage, "test-restart-secondary", &primary)?;
        assert!(output.status.success(), "{output:?}");
        primary.wait_protected()?;
        assert_eq!(seeds(&secondary)?, before + 1);

        primary.process.kill()?;
        secondary.wait_takeover()?;
        let alone = command(stage, "test-restart-secondary", &secondary)?;
        assert_refused(&alone, "secondary");
        stage::judge(load)?;
        Ok(())
    });
}

#[test]
fn a_secondary_refuses_what_only_a_primary_can_do() {
    stage::play(TIMEOUT_MS, |stage| {
        let pair = stage.pair()?;
        for name in ["test-failover", "test-restart-secondary"] {
            assert_refused(&command(stage, name, &pair.secondary)?, "primary");
        }
        Ok(())
    });
}

#[test]
fn sigterm_ends_a_secondary_in_order_and_the_vm_goes_on() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = stage.pair()?;
        let mut client = Connection::open(guest(), PATIENCE)?;
        secondary.process.signal(Signal::TERM)?;
        let status = secondary.process.wait_end(SOON)?;
        assert_eq!(status.code(), Some(0), "{}", secondary.process.log());
        wait_alone(&mut primary)?;
        assert_eq!(client.request("k", &Action::Incr)?, Reply::Integer(1));

        primary.process.signal(Signal::TERM)?;
        let status = primary.process.wait_end(SOON)?;
        assert_eq!(status.code(), Some(0), "{}", primary.process.log());
        assert!(!primary.control().exists(), "the control socket is left behind");
        Ok(())
    });
}

#[test]
fn sigterm_to_a_protected_primary_leaves_the_vm_to_the_secondary() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = stage.pair()?;
        let load = stage.load(Mix::Count, THINKING, 9)?;
        primary.process.signal(Signal::TERM)?;
        let status = primary.process.wait_end(SOON)?;
        assert_eq!(status.code(), Some(0), "{}", primary.process.log());
        secondary.wait_takeover()?;
        load.await_answers(100, PATIENCE)?;
        stage::judge(load)?;
        Ok(())
    });
}

#[test]
fn suspend_resume_migrate_and_turn_off_do_what_they_say() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = stage.pair()?;
        let load = stage.load(Mix::Count, THINKING, 8)?;

        assert_answer_tells_protection_from_the_vm(&command(stage, "suspend", &primary)?);
        wait_alone(&mut primary)?;
        secondary.wait_status("listening", SOON, |status| status.state == State::Listening)?;
        assert!(command(stage, "resume", &primary)?.status.success());
        primary.wait_protected()?;
        assert_refused(&command(stage, "resume", &primary)?, "not suspended");

        let (mut other, address) = stage.secondary(&[&primary, &secondary])?;
        let control = primary.control().to_str().context("the socket's path is no text")?;
        let nobody = stage.ftvmm(&["migrate-secondary", "--to", "127.0.0.1:1", "--control", control])?;
        assert_refused(&nobody, "the secondary stays where it is: cannot connect to 127.0.0.1:1");
        assert_eq!(primary.status()?.state, State::Protected);
        let moved = stage.ftvmm(&["migrate-secondary", "--to", &address, "--control", control])?;
        assert!(moved.status.success(), "{moved:?}");
        other.wait_status("following", SOON, |status| status.state == State::Following)?;
        secondary.wait_status("listening", SOON, |status| status.state == State::Listening)?;

        assert_answer_tells_protection_from_the_vm(&command(stage, "turn-off", &primary)?);
        wait_alone(&mut primary)?;
        assert_refused(&command(stage, "turn-off", &primary)?, "no secondary");
        load.await_answers(100, PATIENCE)?;
        stage::judge(load)?;
        Ok(())
    });
}
