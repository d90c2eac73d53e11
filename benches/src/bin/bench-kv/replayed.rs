//! A recording, replayed.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, ensure};
use ftvmm::demo::{pair::Setup, process::Process};
use ftvmm_tests::cpu;
use serde::Serialize;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(600);

/// A recording of both loads, and its replay.
#[derive(Debug, Serialize)]
pub struct Replayed {
    /// Sync points in it.
    pub sync_points: u64,
    /// Bytes of its steps, without the initial state.
    pub log_bytes: u64,
    /// Guest time it covers, with the time in which the guest waited, s.
    pub guest_s: f64,
    /// CPU seconds of the vCPU thread while it was recorded: the time in which the guest did not wait.
    pub busy_s: f64,
    /// How long the replay took, s.
    pub replay_s: f64,
    /// CPU seconds of the replaying process, start and all.
    pub replay_cpu_s: f64,
}

/// Replays `log`, whose recording kept its vCPU thread busy for `busy_s`, and removes it.
pub fn run(setup: &Setup, log: &Path, busy_s: f64) -> anyhow::Result<Replayed> {
    let mut command = Command::new(&setup.program);
    command.args(["replay", "--json", "--log"]).arg(log);
    let cpu_before = cpu::of_reaped_children()?;
    let mut replay = Process::start(command, "replay", &setup.directory, None)?;
    let status = replay.wait_end(PATIENCE)?;
    ensure!(status.success(), "the replay failed ({status}): {}", replay.log());
    let replay_cpu_s = cpu::of_reaped_children()? - cpu_before;
    std::fs::remove_file(log)?;
    let said: Value = serde_json::from_str(&replay.output()).context("the replay's summary")?;
    let number =
        |name: &str| said[name].as_f64().with_context(|| format!("the replay gives no {name}: {said}"));
    Ok(Replayed {
        sync_points: number("sync_points")? as u64,
        log_bytes: number("log_bytes")? as u64,
        guest_s: number("guest_s")?,
        busy_s,
        replay_s: number("replay_s")?,
        replay_cpu_s,
    })
}
