//! Linux restarts and panics: a protected machine begins again in place, also when its host loses power while it boots.
//!
//! The guest's whole system is one line of shell in the file system that lab hosts start from. How often it has begun is
//! on its disk, and it goes on when somebody connects.

use std::{fs, net::TcpStream, time::Duration};

use anyhow::ensure;
use ftlog::DiskMode;
use ftvmm::{control::State, demo::wait};
use ftvmm_tests::lab::{self, Ended, Lab, Plan, Running, artefacts, member::Setup};

use super::{
    PATIENCE, SHARED_DISK, TIMEOUT_MS, await_console, command, console, disk, end_of, plan_without_disks,
    redis, replay::ensure_runs,
};

/// What the guest does.
const LIFE: &str = "mount -t devtmpfs d /dev; read n </dev/vda; echo life $n; [ $n = 3 ] && poweroff -f; \
     ip addr add 10.77.0.2/24 dev eth0; ip link set eth0 up; nc -l -p 6379 </dev/null; \
     echo $((n+1)) >/dev/vda; sync; reboot -f";
/// What its kernel says first.
const BOOTS: &str = "Linux version";
/// The exit status of a guest that panicked.
const PANICKED: i32 = 5;

fn plan() -> anyhow::Result<Plan> {
    let mut plan = plan_without_disks()?;
    plan.files.push(("initramfs".to_owned(), artefacts::host()?.join("initramfs")));
    Ok(plan)
}

/// The options of a guest whose kernel starts `init`.
fn guest(init: &str) -> Vec<String> {
    let cmdline = format!("console=ttyS0 {init}");
    let words = ["--kernel", "/files/vmlinux", "--initrd", "/files/initramfs", "--memory", "128"];
    words.into_iter().chain(["--cmdline", &cmdline]).map(str::to_owned).collect()
}

#[test]
fn linux_reboots_protected_and_survives_a_power_failure_while_it_boots() {
    lab::play(plan, |lab| {
        let mut blank = b"0\n".to_vec();
        blank.resize(1 << 20, 0);
        fs::write(lab.shared().join(SHARED_DISK), blank)?;
        let life = guest(&format!("rdinit=/bin/sh -- -c \"{LIFE}\""));
        let setup =
            Setup { failure_timeout_ms: TIMEOUT_MS, guest: life, both: disk(DiskMode::Shared).to_vec() };
        let (secondary, address) = setup.secondary(&lab.b, "secondary")?;
        let primary = setup.primary(&lab.a, "primary", &address)?;
        await_console(lab, "primary", "life 0", PATIENCE, || ensure_runs(&primary.running))?;
        primary.wait_protected(&lab.a)?;

        let_it_go_on()?;
        await_boots(lab, "primary", 2, &primary.running)?;
        let status = primary.status(&lab.a)?;
        ensure!((status.resets, status.state) == (1, State::Protected), "after the reset: {status:?}");
        lab.a.power_off_now()?;
        secondary.wait_takeover(&lab.b)?;
        let alive = || ensure_runs(&secondary.running);
        for life in ["life 1", "life 2"] {
            await_console(lab, "secondary", life, PATIENCE, alive)?;
            let_it_go_on()?;
        }
        let ended = secondary.running.wait_end(PATIENCE)?;
        ensure!(ended == Ended::Status(0), "it ended with {ended:?}: {}", secondary.running.log());
        let said = console(lab, "secondary");
        ensure!(said.contains("life 3"), "it has not begun a fourth time: {}", end_of(&said));
        Ok(())
    });
}

#[test]
fn a_panic_of_linux_ends_or_resets_its_machine() {
    lab::play(plan, |lab| {
        let run = |name: &str, on_panic: &str| {
            let mut words = vec!["run".to_owned()];
            // There is no such program, and no root to look for another.
            words.extend(guest("rdinit=/none"));
            words.extend(["--on-panic", on_panic, "--console"].map(str::to_owned));
            words.push(format!("file=/shared/{name}.guest"));
            lab.a.spawn(name, &command(&words))
        };
        let halts = run("halts", "halt")?;
        let ended = halts.wait_end(PATIENCE)?;
        ensure!(ended == Ended::Status(PANICKED), "it ended with {ended:?}: {}", halts.log());
        ensure!(console(lab, "halts").contains("Kernel panic"), "{}", end_of(&console(lab, "halts")));

        let reboots = run("reboots", "reboot")?;
        await_boots(lab, "reboots", 3, &reboots)
    });
}

/// Waits until the guest's kernel has begun so often while `member` was live.
fn await_boots(lab: &Lab, member: &str, times: usize, running: &Running) -> anyhow::Result<()> {
    wait::until(&format!("boot {times}"), PATIENCE, || {
        ensure_runs(running)?;
        Ok((console(lab, member).matches(BOOTS).count() >= times).then_some(()))
    })
}

/// Connects to the guest as soon as it listens.
fn let_it_go_on() -> anyhow::Result<()> {
    wait::until("the guest to listen", PATIENCE, || {
        Ok(TcpStream::connect_timeout(&redis(), Duration::from_secs(1)).ok().map(drop))
    })
}
