//! Real pairs on a real KVM, and everything that can befall them: kills, pauses, partitions, commands.
//!
//! Needs root. Where KVM is missing, `FTVMM_TEST_WITHOUT_KVM=1` skips these tests.

#[path = "failover/clients.rs"]
mod clients;
#[path = "failover/commands.rs"]
mod commands;
#[path = "failover/computing.rs"]
mod computing;
#[path = "failover/crowds.rs"]
mod crowds;
#[path = "failover/demo.rs"]
mod demo;
#[path = "failover/differential.rs"]
mod differential;
#[path = "failover/disks.rs"]
mod disks;
#[path = "failover/disks_absence.rs"]
mod disks_absence;
#[path = "failover/disks_broken.rs"]
mod disks_broken;
#[path = "failover/disks_devices.rs"]
mod disks_devices;
#[path = "failover/disks_fence.rs"]
mod disks_fence;
#[path = "failover/disks_killed.rs"]
mod disks_killed;
#[path = "failover/disks_refused.rs"]
mod disks_refused;
#[path = "failover/disks_resync.rs"]
mod disks_resync;
#[path = "failover/disks_scene.rs"]
mod disks_scene;
#[path = "failover/disks_stamps.rs"]
mod disks_stamps;
#[path = "failover/divergence.rs"]
mod divergence;
#[path = "failover/ends.rs"]
mod ends;
#[path = "failover/entries.rs"]
mod entries;
#[path = "failover/followers.rs"]
mod followers;
#[path = "failover/forced.rs"]
mod forced;
#[path = "failover/frozen.rs"]
mod frozen;
#[path = "failover/handshake.rs"]
mod handshake;
#[path = "failover/identity.rs"]
mod identity;
#[path = "failover/kills.rs"]
mod kills;
#[path = "failover/lag.rs"]
mod lag;
#[path = "failover/network.rs"]
mod network;
#[path = "failover/outlets.rs"]
mod outlets;
#[path = "failover/panics.rs"]
mod panics;
#[path = "failover/partition.rs"]
mod partition;
#[path = "failover/pauses.rs"]
mod pauses;
#[path = "failover/refusals.rs"]
mod refusals;
#[path = "failover/resets.rs"]
mod resets;
#[path = "failover/seeding.rs"]
mod seeding;
#[path = "failover/silence.rs"]
mod silence;
#[path = "failover/stand_in.rs"]
mod stand_in;
#[path = "failover/ways.rs"]
mod ways;
#[path = "failover/year.rs"]
mod year;

use std::time::Duration;

use anyhow::ensure;
use ftvmm::{
    control::{Role, State, Status},
    demo::{
        client::{Load, Reply},
        net,
        pair::Member,
        wait,
    },
};
use ftvmm_tests::stage::{self, PATIENCE, Stage};

/// Silence that counts as a loss in these tests, ms: long enough for a machine with other things to do.
const TIMEOUT_MS: u64 = 1000;
/// How long anything may take that should happen soon.
const SOON: Duration = Duration::from_secs(15);
/// A little time between the requests of a client, so that clients, primary and secondary share two cores.
const THINKING: Duration = Duration::from_millis(2);

/// The answer to a SET or SHUTDOWN that was carried out.
fn ok() -> Reply {
    Reply::Status("OK".into())
}

/// Waits until this side, which was the primary, has halted.
fn wait_halted(member: &mut Member) -> anyhow::Result<()> {
    let what = format!("{} to halt", member.process.name());
    wait::until(&what, SOON, || {
        if member.process.ended()?.is_some() {
            return Ok(Some(()));
        }
        Ok(member.status().ok().filter(|status| status.state == State::Halted).map(drop))
    })
}

/// Waits until this side runs the VM alone.
fn wait_alone(member: &mut Member) -> anyhow::Result<Status> {
    let alone = |role, state| role == Role::Primary && state == State::Unprotected;
    member.wait_status("alone", SOON, |status| alone(status.role, status.state))
}

/// A secondary whose session has just ended had its primary wait for that, and not turned it away.
fn was_never_turned_away(primary: &Status) -> anyhow::Result<()> {
    let refused = primary.events.iter().find(|event| event.text.contains("refuses: busy"));
    ensure!(refused.is_none(), "{refused:?}");
    Ok(())
}

/// The primary dies, and its clients find everything at its secondary.
fn survive_the_primary(primary: &mut Member, secondary: &mut Member, load: Load) -> anyhow::Result<()> {
    primary.process.kill()?;
    secondary.wait_takeover()?;
    load.await_answers(100, PATIENCE)?;
    stage::judge(load).map(drop)
}

/// Frames that this member's guest has emitted, where all TAP devices are in the test's own network.
fn frames(member: &Member) -> anyhow::Result<u64> {
    net::frames_emitted(None, &member.tap)
}

/// What `ftvmm` says with these arguments, and its exit status.
fn ftvmm(stage: &Stage, arguments: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
    let output = stage.ftvmm(arguments)?;
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    Ok((output.status.code(), said))
}
