//! What a process writes to or takes from its host fails while the pair is protected, and then the other side dies: the
//! VM goes on, nothing is lost, and the trouble ends with its cause.

use std::{fs, time::Duration};

use anyhow::Context;
use ftlog::DiskMode;
use ftvmm::{
    control::{self, Request, Status},
    demo::{
        client::Mix,
        pair::{Member, Place, Setup},
        wait,
    },
};
use ftvmm_tests::{
    harness,
    outlets::{
        FILES_AND_TAPS, Pipe, as_nobody_else, descriptors_for_a_claim, limit, limit_threads,
        none_but_those_put_aside, wrapper,
    },
    stage::{self, CLIENTS, PATIENCE, Pair, Stage},
};
use rustix::process::{Resource, Rlimit, Signal};

use super::{SOON, THINKING, TIMEOUT_MS, wait_alone};

/// Who is left when the other has died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Survivor {
    Primary,
    Secondary,
}

const BOTH: [Survivor; 2] = [Survivor::Primary, Survivor::Secondary];

/// A protected pair with clients, whose survivor runs as `script` says. `hurt` breaks something of it, then the other
/// is killed. Gives the survivor when the clients have gone on for a while.
fn outlive(
    stage: &Stage,
    survivor: Survivor,
    script: &str,
    hurt: impl FnOnce(&Member) -> anyhow::Result<()>,
    heal: impl FnOnce(&Member) -> anyhow::Result<()>,
) -> anyhow::Result<Member> {
    outlive_as(stage, &stage.setup, survivor, script, hurt, heal)
}

/// As [`outlive`], with members of `setup`.
fn outlive_as(
    stage: &Stage,
    setup: &Setup,
    survivor: Survivor,
    script: &str,
    hurt: impl FnOnce(&Member) -> anyhow::Result<()>,
    heal: impl FnOnce(&Member) -> anyhow::Result<()>,
) -> anyhow::Result<Member> {
    let Pair { mut primary, mut secondary, .. } = wrapped_pair(stage, setup, survivor, script)?;
    let load = stage.load(Mix::Count, THINKING, 0)?;
    let (left, lost) = match survivor {
        Survivor::Primary => (&mut primary, &mut secondary),
        Survivor::Secondary => (&mut secondary, &mut primary),
    };
    hurt(left)?;
    // Broken, and still protected.
    load.await_answers(u64::from(CLIENTS) * 5, PATIENCE)?;
    lost.process.kill()?;
    load.await_answers(u64::from(CLIENTS) * 5, PATIENCE)
        .with_context(|| format!("the {survivor:?} does not go on: {}", left.process.log()))?;
    heal(left)?;
    match survivor {
        Survivor::Primary => drop(wait_alone(left)?),
        Survivor::Secondary => drop(left.wait_takeover()?),
    }
    stage::judge(load)?;
    Ok(if survivor == Survivor::Primary { primary } else { secondary })
}

fn wrapped_pair(stage: &Stage, setup: &Setup, survivor: Survivor, script: &str) -> anyhow::Result<Pair> {
    let wrapped = Setup { program: wrapper(stage, script)?, ..setup.clone() };
    let setup = |side| if side == survivor { &wrapped } else { setup };
    let place = stage.equip(Place::here(stage.free_tap(&[])));
    let (secondary, address) = setup(Survivor::Secondary).secondary(&stage.name("secondary"), place)?;
    let place = stage.equip(Place::here(stage.free_tap(&[&secondary])));
    let mut primary = setup(Survivor::Primary).primary(&stage.name("primary"), place, &address)?;
    primary.wait_protected()?;
    Ok(Pair { primary, secondary, address })
}

fn has_trouble(status: &Status, what: &str) -> bool {
    status.troubles.iter().any(|trouble| trouble.what == what)
}

#[test]
fn a_log_on_a_full_disk_costs_neither_side_its_vm_and_shows_in_status() {
    for survivor in BOTH {
        stage::play(TIMEOUT_MS, |stage| {
            let script = "exec \"$@\" 2>/dev/full";
            let mut left = outlive(stage, survivor, script, |_| Ok(()), |_| Ok(()))?;
            left.wait_status("in trouble", SOON, |status| has_trouble(status, "log"))?;
            Ok(())
        });
    }
}

#[test]
fn a_log_whose_reader_is_gone_costs_neither_side_its_vm_and_shows_in_status() {
    for survivor in BOTH {
        stage::play(TIMEOUT_MS, |stage| {
            let path = stage.directory().join("pipe");
            let pipe = Pipe::create(&path)?;
            let script = format!("exec \"$@\" 2>'{}'", path.display());
            let leave = |_: &Member| {
                drop(pipe);
                Ok(())
            };
            let mut left = outlive(stage, survivor, &script, leave, |_| Ok(()))?;
            left.wait_status("in trouble", SOON, |status| has_trouble(status, "log"))?;
            Ok(())
        });
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_neither_side_and_is_all_there_for_who_reads_later() {
    for survivor in BOTH {
        stage::play(TIMEOUT_MS, |stage| {
            let path = stage.directory().join("pipe");
            let mut pipe = Pipe::create(&path)?;
            let script = format!("exec \"$@\" 2>'{}'", path.display());
            let mut left = outlive(stage, survivor, &script, |_| Ok(pipe.fill()?), |_| Ok(()))?;
            left.wait_status("in trouble", SOON, |status| has_trouble(status, "log"))?;
            let mut said = String::new();
            wait::until("what was logged meanwhile", SOON, || {
                said += &pipe.drain()?;
                Ok(said.contains(" is lost: ").then_some(()))
            })?;
            left.wait_status("well", SOON, |status| !has_trouble(status, "log"))?;
            Ok(())
        });
    }
}

#[test]
fn a_host_that_starts_no_thread_more_costs_neither_side_its_vm() {
    for survivor in BOTH {
        stage::play(TIMEOUT_MS, |stage| {
            let deny = |left: &Member| limit_threads(&left.process, 0);
            let allow = |left: &Member| limit_threads(&left.process, 1000);
            drop(outlive(stage, survivor, &as_nobody_else(FILES_AND_TAPS), deny, allow)?);
            Ok(())
        });
    }
}

#[test]
fn a_process_that_gets_no_descriptor_more_loses_no_vm() {
    for survivor in BOTH {
        stage::play(TIMEOUT_MS, |stage| {
            let to = |count| Rlimit { current: Some(count), maximum: Some(1024) };
            let deny = |left: &Member| {
                let count = none_but_those_put_aside(&left.process)?;
                limit(&left.process, Resource::Nofile, to(count)).map(drop)
            };
            let allow = |left: &Member| limit(&left.process, Resource::Nofile, to(1024)).map(drop);
            drop(outlive(stage, survivor, "exec \"$@\"", deny, allow)?);
            Ok(())
        });
    }
}

/// What a side that takes over needs beside the claim is there before, also for a disk that only the live side has open.
#[test]
fn a_takeover_needs_no_descriptor_but_those_of_its_claim() {
    stage::play_with_disk(DiskMode::Shared, TIMEOUT_MS, |stage| {
        let to = |count| Rlimit { current: Some(count), maximum: Some(1024) };
        let deny = |left: &Member| {
            let count = descriptors_for_a_claim(&left.process)?;
            limit(&left.process, Resource::Nofile, to(count)).map(drop)
        };
        let allow = |left: &Member| limit(&left.process, Resource::Nofile, to(1024)).map(drop);
        let mut left = outlive(stage, Survivor::Secondary, "exec \"$@\"", deny, allow)?;
        left.wait_status("stamped", SOON, |status| !has_trouble(status, "stamp"))?;
        Ok(())
    });
}

#[test]
fn a_takeover_needs_no_thread_that_is_not_there_for_its_disks_either() {
    for mode in [DiskMode::Shared, DiskMode::Replicated] {
        stage::play_with_disk(mode, TIMEOUT_MS, |stage| {
            let deny = |left: &Member| limit_threads(&left.process, 0);
            let allow = |left: &Member| limit_threads(&left.process, 1000);
            drop(outlive(stage, Survivor::Secondary, &as_nobody_else(FILES_AND_TAPS), deny, allow)?);
            Ok(())
        });
    }
}

#[test]
fn threads_are_put_aside_for_as_many_disks_as_there_can_be() {
    stage::play(TIMEOUT_MS, |stage| {
        let mut options = Vec::new();
        for number in 0..devices::MAX_DISKS {
            let path = stage.directory().join(format!("disk-{number}"));
            fs::File::create(&path)?.set_len(1 << 20)?;
            options.extend(["--disk".to_owned(), format!("path={},mode=shared", path.display())]);
        }
        let setup = stage.setup_with(options);
        let deny = |left: &Member| limit_threads(&left.process, 0);
        let allow = |left: &Member| limit_threads(&left.process, 1000);
        let script = as_nobody_else(FILES_AND_TAPS);
        drop(outlive_as(stage, &setup, Survivor::Secondary, &script, deny, allow)?);
        Ok(())
    });
}

#[test]
fn files_that_may_not_grow_cost_neither_side_its_vm() {
    for survivor in BOTH {
        stage::play(TIMEOUT_MS, |stage| {
            let path = stage.directory().join("long.log");
            // Longer than a claim, so that the arbiter can be written and the log cannot.
            fs::write(&path, "earlier\n".repeat(512))?;
            let script = format!("exec \"$@\" 2>>'{}'", path.display());
            let deny = |left: &Member| {
                let most = Rlimit { current: Some(4096), maximum: None };
                limit(&left.process, Resource::Fsize, most).map(drop)
            };
            let mut left = outlive(stage, survivor, &script, deny, |_| Ok(()))?;
            left.wait_status("in trouble", SOON, |status| has_trouble(status, "log"))?;
            limit(&left.process, Resource::Fsize, Rlimit { current: None, maximum: None })?;
            let (spare, address) = stage.secondary(&[&left])?;
            left.protect(&address)?;
            left.wait_protected()?;
            left.wait_status("well", SOON, |status| !has_trouble(status, "log"))?;
            let said = fs::read_to_string(&path)?;
            assert!(said.contains("lines of the log were lost"), "{said}");
            drop(spare);
            Ok(())
        });
    }
}

#[test]
fn signals_of_a_lost_terminal_end_neither_side() {
    stage::play(TIMEOUT_MS, |stage| {
        let Pair { mut primary, mut secondary, .. } = stage.pair()?;
        let load = stage.load(Mix::Count, THINKING, 0)?;
        for signal in [Signal::HUP, Signal::PIPE, Signal::XFSZ, Signal::TTIN, Signal::TTOU] {
            primary.process.signal(signal)?;
            secondary.process.signal(signal)?;
            load.await_answers(u64::from(CLIENTS), PATIENCE)?;
        }
        primary.wait_protected()?;
        secondary.process.expect_alive()?;
        stage::judge(load)?;
        Ok(())
    });
}

#[test]
fn a_recording_whose_file_takes_no_more_ends_and_its_vm_goes_on() {
    stage::play(TIMEOUT_MS, |stage| {
        let path = |name| stage.directory().join(name).display().to_string();
        let (log, control) = (path("cut.ftlog"), path("control"));
        let console = format!("file={}", path("console"));
        let program = harness::program()?;
        let mut arguments = vec!["record", "--net", "tap=tap-a", "--console", &console];
        arguments.extend(["--log", &log, "--control", &control]);
        let mut recorder =
            stage.spawn(program.to_str().context("the program's path is no text")?, &arguments)?;
        let load = stage.load(Mix::Count, Duration::ZERO, 0)?;

        let to = |length| Rlimit { current: length, maximum: None };
        limit(&recorder, Resource::Fsize, to(Some(fs::metadata(&log)?.len())))?;
        let status = || -> anyhow::Result<Status> {
            Ok(serde_json::from_value(control::request(control.as_ref(), &Request::Status)?)?)
        };
        wait::until("the end of the recording", 4 * SOON, || {
            recorder.expect_alive()?;
            Ok(has_trouble(&status()?, "recording").then_some(()))
        })?;
        load.await_answers(u64::from(CLIENTS) * 5, PATIENCE)?;
        // What is lost of it does not come back with the room.
        let recorded = status()?.log_bytes;
        limit(&recorder, Resource::Fsize, to(None))?;
        load.await_answers(u64::from(CLIENTS) * 5, PATIENCE)?;
        assert_eq!(status()?.log_bytes, recorded, "it goes on behind a gap");
        stage::judge(load)?;

        recorder.signal(Signal::TERM)?;
        assert_eq!(recorder.wait_end(SOON)?.code(), Some(3), "{}", recorder.log());
        assert_eq!(stage.ftvmm(&["replay", "--log", &log])?.status.code(), Some(3), "a cut log is refused");
        Ok(())
    });
}
