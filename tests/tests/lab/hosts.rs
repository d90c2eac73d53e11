//! What tests rely on: that hosts are there, apart from each other, and that a power failure is one.

use std::{fs, time::Duration};

use anyhow::ensure;
use ftvmm_tests::lab::{self, Ended, Plan};

/// More than enough for anything in a host that runs.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn hosts_boot_and_reach_each_other() {
    lab::play(Plan::new, |lab| {
        for (host, other) in [(&lab.a, &lab.b), (&lab.b, &lab.a)] {
            host.succeed("test -c /dev/kvm && test -c /dev/net/tun")?;
            ensure!(host.succeed("cat /tmp/name")?.trim() == host.name());
            host.succeed(&format!("ping -c 1 -w 10 {}", other.address()))?;
            ensure!(host.succeed("ftvmm --version")?.starts_with("ftvmm "));
        }
        // What one writes, the other and the test see; and of two that make the same file, one wins.
        lab.a.succeed("echo written by a >/shared/note")?;
        ensure!(lab.b.succeed("cat /shared/note")? == "written by a\n");
        ensure!(fs::read_to_string(lab.shared().join("note"))? == "written by a\n");
        let claim =
            "echo $(cat /tmp/name) >/shared/$(cat /tmp/name); ln /shared/$(cat /tmp/name) /shared/claim";
        let claims = [lab.a.run(claim)?, lab.b.run(claim)?].map(|output| output.status == 0);
        ensure!(claims == [true, false], "{claims:?}");
        ensure!(lab.a.run("touch /files/x")?.status != 0, "/files is for reading");
        Ok(())
    });
}

#[test]
fn commands_end_with_their_status_and_all_they_said() {
    lab::play(Plan::new, |lab| {
        let output = lab.a.run("echo out; echo err >&2; exit 7")?;
        ensure!((output.status, &*output.stdout, &*output.stderr) == (7, "out\n", "err\n"), "{output:?}");
        let long = lab.a.succeed("seq 1 200000")?;
        ensure!(long.lines().count() == 200_000 && long.ends_with("\n200000\n"), "{} bytes", long.len());
        ensure!(lab.a.run("kill -9 $$")?.status == 128 + 9);
        // What is dropped is killed, with what it started.
        let running = lab.a.spawn("sleeper", "sleep 4321 & echo $!; wait")?;
        let id: u32 = running.wait_output("its start", SOON, |output| output.trim().parse().ok())?;
        lab.a.succeed(&format!("test -d /proc/{id}"))?;
        drop(running);
        lab.a.succeed(&format!(
            "for i in $(seq 100); do test -d /proc/{id} || exit 0; sleep 0.1; done; exit 1"
        ))?;
        Ok(())
    });
}

#[test]
fn a_power_failure_is_seen_by_the_other() {
    lab::play(Plan::new, |lab| {
        lab.a.succeed("echo kept >/shared/kept; echo lost >/tmp/lost")?;
        let running = lab.a.spawn("sleeper", "echo begun; sleep 1000")?;
        running.wait_output("its start", SOON, |output| output.contains("begun").then_some(()))?;
        lab.b.succeed("ping -c 1 -w 10 10.78.0.1")?;
        lab.a.power_off_now()?;
        ensure!(running.wait_end(SOON)? == Ended::Lost);
        ensure!(lab.b.run("ping -c 1 -w 2 10.78.0.1")?.status != 0, "host a answers without power");
        ensure!(lab.a.run("true").is_err());
        ensure!(lab.b.succeed("cat /shared/kept")? == "kept\n");

        lab.a.power_on()?;
        lab.b.succeed("ping -c 1 -w 10 10.78.0.1")?;
        ensure!(lab.a.run("cat /tmp/lost")?.status != 0, "memory survived a power failure");
        Ok(())
    });
}

#[test]
fn a_cut_wire_is_silent_and_can_be_mended() {
    lab::play(Plan::new, |lab| {
        lab.network.cut_ft()?;
        ensure!(lab.a.run("ping -c 1 -w 2 10.78.0.2")?.status != 0);
        let link = "cat /sys/class/net/ft0/carrier";
        ensure!(lab.a.succeed(link)? == "1\n", "the link must stay up, as with a switch in between");
        lab.network.mend_ft()?;
        lab.a.succeed("ping -c 1 -w 10 10.78.0.2")?;
        Ok(())
    });
}
