//! A side that is heard and does not move: its disk takes nothing, or its vCPU thread is stopped. The service goes on at
//! the other side.

use std::{fs, time::Duration};

use anyhow::{Context, ensure};
use ftlog::DiskMode;
use ftvmm::{
    control::{Role, State},
    demo::{
        client::{Connection, Mix},
        pair::{Member, Place},
    },
};
use ftvmm_tests::{
    disks::option,
    frozen::Freezer,
    stage::{self, PATIENCE, Pair, Stage, guest},
};
use rustix::process::Pid;

use super::{SOON, THINKING, TIMEOUT_MS, ok, wait_alone};

/// A lag of less than a second is tolerated, so a side that stands for four is given up.
const STALL: Duration = Duration::from_secs(4);

/// A pair one of whose copies, the primary's or the secondary's, is on a file system that can be frozen.
fn pair_on(stage: &Stage, freezer: &Freezer, primary_freezes: bool) -> anyhow::Result<Pair> {
    let (tap, other) = ("tap-a", "tap-b");
    let frozen_tap = if primary_freezes { other } else { tap };
    let disk = freezer.point().join("disk");
    fs::copy(stage.disks().file(frozen_tap), &disk)?;
    let frozen = [option(&disk, DiskMode::Replicated)];
    let place = |tap| {
        let disks = if tap == frozen_tap { &frozen[..] } else { stage.disks().options(tap) };
        Place { disks, ..Place::here(tap) }
    };
    let (secondary, address) = stage.setup.secondary(&stage.name("secondary"), place(tap))?;
    let mut primary = stage.setup.primary(&stage.name("primary"), place(other), &address)?;
    primary.wait_protected()?;
    Ok(Pair { primary, secondary, address })
}

#[test]
fn a_secondary_whose_disk_takes_nothing_is_let_go_and_comes_back_when_it_does() {
    stage::play_with_disk(DiskMode::Replicated, TIMEOUT_MS, |stage| {
        let Some(freezer) = Freezer::mount(stage.directory(), "frozen")? else { return Ok(()) };
        let mut pair = pair_on(stage, &freezer, false)?;
        let load = stage.load(Mix::Count, THINKING, 31)?;
        let frozen = freezer.freeze()?;
        pair.primary.wait_status("alone", STALL + SOON, |status| status.state == State::Unprotected)?;
        wait_alone(&mut pair.primary)?;
        let status = pair.primary.status()?;
        let lost = |text: &str| text.contains("done nothing") || text.contains("does not answer");
        ensure!(status.events.iter().any(|event| lost(&event.text)), "{:?}", status.events);
        load.await_answers(200, PATIENCE)?;
        wait_told(&mut pair.primary, "which has lost its primary and executes what it has of it, and")?;
        drop(frozen);
        wait_protected_again(&mut pair.primary)?;
        stage::judge(load)?;
        Ok(())
    });
}

/// Its session is over at once, and the next one does not begin before the disk has done what the first one left to it.
#[test]
fn a_secondary_whose_disk_is_busy_with_an_earlier_session_says_so_until_it_is_done() {
    stage::play_with_disk(DiskMode::Replicated, TIMEOUT_MS, |stage| {
        let Some(freezer) = Freezer::mount(stage.directory(), "frozen")? else { return Ok(()) };
        let mut pair = pair_on(stage, &freezer, false)?;
        let load = stage.load(Mix::Count, THINKING, 32)?;
        let frozen = freezer.freeze()?;
        load.await_answers(50, PATIENCE)?;
        let control = pair.primary.control().to_str().context("the socket's path is no text")?.to_owned();
        for command in ["suspend", "resume"] {
            let output = stage.ftvmm(&[command, "--control", &control])?;
            ensure!(output.status.success(), "{command}: {output:?}");
            pair.secondary.wait_status("listening", SOON, |status| status.state == State::Listening)?;
        }
        wait_told(&mut pair.primary, "refuses: this side's disk 0")?;
        ensure!(pair.secondary.status()?.state == State::Listening, "it has taken the VM all the same");
        load.await_answers(50, PATIENCE)?;
        drop(frozen);
        wait_protected_again(&mut pair.primary)?;
        stage::judge(load)?;
        Ok(())
    });
}

/// Waits until this primary, which runs alone, says why: with this, and that a disk is busy.
fn wait_told(primary: &mut Member, why: &str) -> anyhow::Result<()> {
    let told =
        |reason: &String| reason.contains(why) && reason.contains("busy with what was asked of it before");
    primary
        .wait_status("told why it stays alone", SOON, |status| {
            status.state == State::Unprotected && status.last_loss.as_ref().is_some_and(told)
        })
        .map(drop)
}

/// Waits until this primary is protected, for which it may look as late as after the longest pause between two attempts.
fn wait_protected_again(primary: &mut Member) -> anyhow::Result<()> {
    primary.wait_status("protected again", 3 * SOON, |status| status.state == State::Protected).map(drop)
}

#[test]
fn a_primary_whose_disk_takes_nothing_leaves_the_vm_to_its_secondary() {
    stage::play_with_disk(DiskMode::Replicated, TIMEOUT_MS, |stage| {
        let Some(freezer) = Freezer::mount(stage.directory(), "frozen")? else { return Ok(()) };
        let mut pair = pair_on(stage, &freezer, true)?;
        let mut client = Connection::open(guest(), 3 * PATIENCE)?;
        ensure!(client.call(&[b"SET", b"key", b"before"])? == ok());
        let frozen = freezer.freeze()?;
        ensure!(client.call(&[b"SET", b"key", b"after"])? == ok());
        pair.secondary.wait_takeover()?;
        drop(frozen);
        pair.primary.process.wait_end(SOON)?;
        let said = pair.primary.process.log();
        ensure!(said.contains("handed over: a disk does not answer"), "{said}");
        Ok(())
    });
}

/// The thread that runs the guest stops, as one does whose memory cannot be read in; all others go on, and say so.
#[test]
fn a_primary_whose_vcpu_thread_is_stuck_is_taken_over_from() {
    stage::play(TIMEOUT_MS, |stage| {
        let mut pair = stage.pair()?;
        let mut client = Connection::open(guest(), 3 * PATIENCE)?;
        ensure!(client.call(&[b"SET", b"key", b"before"])? == ok());
        let stuck = Stuck::stop(pair.primary.process.id())?;
        ensure!(client.call(&[b"SET", b"key", b"after"])? == ok());
        let takeover = pair.secondary.wait_takeover()?;
        ensure!(takeover.reason.contains("done nothing"), "{takeover:?}");
        ensure!(pair.secondary.status()?.role == Role::Primary);
        drop(stuck);
        pair.primary.process.wait_end(SOON)?;
        Ok(())
    });
}

/// A thread that is traced, and stopped by that alone.
struct Stuck(Pid);

impl Stuck {
    fn stop(thread: u32) -> anyhow::Result<Self> {
        let pid = Pid::from_raw(thread as i32).expect("a thread has a number");
        ptrace(libc::PTRACE_ATTACH, pid)?;
        // SAFETY: the pointers are null or to a value that outlives the call.
        #[allow(unsafe_code)]
        let waited = unsafe { libc::waitpid(pid.as_raw_nonzero().get(), std::ptr::null_mut(), libc::__WALL) };
        ensure!(waited > 0, "the thread does not stop: {}", std::io::Error::last_os_error());
        Ok(Self(pid))
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let _ = ptrace(libc::PTRACE_DETACH, self.0);
    }
}

fn ptrace(request: libc::c_uint, thread: Pid) -> anyhow::Result<()> {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: these requests take no memory of this process.
    #[allow(unsafe_code)]
    let result = unsafe { libc::ptrace(request, thread.as_raw_nonzero().get(), none, none) };
    ensure!(result == 0, "ptrace: {}", std::io::Error::last_os_error());
    Ok(())
}
