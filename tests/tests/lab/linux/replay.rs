//! Linux recorded on one host repeats bit for bit on the other, and again.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use ftvmm::demo::client::{Load, LoadPlan, Mix};
use ftvmm_tests::{
    harness,
    lab::{self, Ended, Lab, Running},
};
use serde::Deserialize;

use super::{Journal, PATIENCE, await_console, console, guest, plan, redis};

/// Guest time of the mixed work, unless `FTVMM_LAB_SECONDS` says otherwise.
const SECONDS: u64 = 30;
/// How much slower than the recording a replay may be: two of them run at once.
const SLOWNESS: u32 = 6;

#[test]
fn linux_recorded_on_one_host_replays_on_the_other() {
    let seconds = harness::number("FTVMM_LAB_SECONDS").unwrap_or(SECONDS);
    lab::play(plan, |lab| {
        let mut journal = Journal::open(&format!("replay-{seconds}"))?;
        let recorded = record(lab, &format!("mixed,{seconds}"), 384, |lab, record| {
            let alive = || ensure_runs(record);
            await_console(lab, "record", "mixed: running", PATIENCE, alive)?;
            use_redis(lab, record, seconds)
        })?;
        journal.line(&recorded.summary)?;
        replay_twice(lab, recorded.took, &mut journal)
    });
}

/// Clients outside use the guest's Redis until its work is over.
fn use_redis(lab: &Lab, record: &Running, seconds: u64) -> anyhow::Result<()> {
    let plan = LoadPlan {
        address: redis(),
        connections: 2,
        prefix: "outside".to_owned(),
        mix: Mix::Mixed,
        pause: Duration::from_millis(100),
        patience: PATIENCE,
        seed: seconds,
    };
    let load = Load::start(&plan, Instant::now())?;
    let limit = Duration::from_secs(seconds) * SLOWNESS + PATIENCE;
    let alive = || {
        ensure_runs(record)?;
        load.await_answers(5, PATIENCE)
    };
    // Then it waits until its clients have left.
    await_console(lab, "record", "mixed: over", limit, alive)?;
    let history = load.stop()?;
    ensure!(history.gave_up.is_empty(), "clients gave up: {:?}", history.gave_up);
    ensure!(history.survived == history.connections, "connections to the guest broke");
    Ok(())
}

/// A recording in `/shared/log`.
pub struct Recorded {
    /// What the guest said in the end.
    pub summary: String,
    /// How long it took.
    pub took: Duration,
}

/// Records a guest on host a until it powers off. Its workload must succeed; `meanwhile` runs beside it.
pub fn record(
    lab: &Lab,
    workload: &str,
    memory_mib: u32,
    meanwhile: impl FnOnce(&Lab, &Running) -> anyhow::Result<()>,
) -> anyhow::Result<Recorded> {
    let mut words = vec!["record".to_owned()];
    words.extend(guest(workload, memory_mib));
    let own = ["--disk", "path=/dev/vda", "--net", "tap=vm0", "--console", "file=/shared/record.guest"];
    words.extend(own.map(str::to_owned));
    words.extend(["--force", "--log", "/shared/log"].map(str::to_owned));
    let begun = Instant::now();
    let record = lab.a.spawn("record", &super::command(&words))?;
    meanwhile(lab, &record)?;
    let ended = record.wait_end(PATIENCE)?;
    let said = console(lab, "record");
    let log = record.log();
    ensure!(ended == Ended::Status(0), "the guest ended with {ended:?}: {log}{}", super::end_of(&said));
    let summary = said.lines().rfind(|line| line.starts_with("WORKLOAD "));
    let summary = summary.context("the workload does not say what came of it")?.trim_end().to_owned();
    ensure!(summary.contains(": ok"), "{summary}");
    Ok(Recorded { summary, took: begun.elapsed() })
}

/// What `ftvmm replay --json` says: the digests are those that the recording ends with.
#[derive(Debug, Deserialize)]
struct Summary {
    sync_points: u64,
    events: u64,
    guest_s: f64,
    log_bytes: u64,
    replay_s: f64,
    memory_digest: String,
    vcpu_digest: String,
    platform_digest: String,
    running_digest: String,
}

impl Summary {
    fn digests(&self) -> [&str; 4] {
        [&self.memory_digest, &self.vcpu_digest, &self.platform_digest, &self.running_digest]
    }
}

/// Replays `/shared/log` on both hosts, at the same time. Every digest is compared with the log's on the way.
pub fn replay_twice(lab: &Lab, recorded: Duration, journal: &mut Journal) -> anyhow::Result<()> {
    let hosts = [&lab.b, &lab.a];
    let start =
        |host: &lab::Host| host.spawn("replay", "NO_COLOR=1 exec ftvmm replay --json --log /shared/log");
    let replays = hosts.into_iter().map(start).collect::<anyhow::Result<Vec<Running>>>()?;
    let mut summaries = Vec::new();
    for (replay, host) in replays.iter().zip(hosts) {
        let name = host.name();
        let ended = replay.wait_end(recorded * SLOWNESS + PATIENCE)?;
        let said = replay.output();
        ensure!(
            ended == Ended::Status(0),
            "the replay on host {name} ended with {ended:?}: {}",
            replay.log()
        );
        let summary: Summary =
            serde_json::from_str(&said).with_context(|| format!("the replay on host {name} says {said}"))?;
        journal.line(&format!(
            "replayed on host {name} in {:.1} s: {:.1} s of guest time, {} sync points, {} events, log of {} bytes, \
             {:.0} bytes/s of guest time; all digests equal, memory {}",
            summary.replay_s,
            summary.guest_s,
            summary.sync_points,
            summary.events,
            summary.log_bytes,
            summary.log_bytes as f64 / summary.guest_s,
            summary.memory_digest
        ))?;
        summaries.push(summary);
    }
    ensure!(summaries[0].digests() == summaries[1].digests(), "two replays differ: {summaries:?}");
    Ok(())
}

pub fn ensure_runs(running: &Running) -> anyhow::Result<()> {
    let ended = running.ended();
    ensure!(ended.is_none(), "it ended ({ended:?}): {}", running.log());
    Ok(())
}
