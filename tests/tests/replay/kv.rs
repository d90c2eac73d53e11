//! The key-value server under `redis-benchmark`.

use std::{path::PathBuf, time::Duration};

use ftlog::Event;
use ftvmm::demo::{client::Connection, wait};
use ftvmm_tests::{
    record::{self, Log},
    stage::{self, Stage, guest},
};
use rustix::process::Signal;

use super::{replay, times};

const SOON: Duration = Duration::from_secs(15);
const LONG: Duration = Duration::from_secs(60);

/// Records the server while 50 connections make `requests` requests of each kind.
fn record(stage: &Stage, requests: &str) -> anyhow::Result<PathBuf> {
    let console = format!("file={}", stage.directory().join("record.console").display());
    let options = ["--kernel", "builtin:kv", "--net", "tap=tap-a", "--console", &console];
    let (mut recording, log) = record::start(stage.directory(), "kv", &options)?;
    wait::until("the guest to serve", SOON, || {
        recording.expect_alive()?;
        Ok(Connection::open(guest(), Duration::from_millis(200)).ok())
    })?;
    let host = guest().ip().to_string();
    let arguments = ["-h", &host, "-t", "ping,set,get,incr", "-c", "50", "-n", requests, "-q"];
    let mut benchmark = stage.spawn("redis-benchmark", &arguments)?;
    let status = benchmark.wait_end(LONG)?;
    assert!(status.success(), "{} {}", benchmark.output(), benchmark.log());
    recording.signal(Signal::TERM)?;
    record::finish(recording)?;
    Ok(log)
}

#[test]
fn one_recording_replayed_again_and_again() {
    stage::play(1000, |stage| {
        let log = record(stage, "2000")?;
        let steps = Log::read(&log)?.all_steps();
        let frames = steps.iter().flat_map(|step| &step.events);
        let frames = frames.filter(|event| matches!(event, Event::NetFrame { .. })).count();
        // Pings and the three commands, each of which takes a frame.
        assert!(frames >= 8000, "only {frames} frames in the log");
        replay(&log, times())
    });
}

#[test]
fn many_recordings_each_replayed() {
    stage::play(1000, |stage| {
        for _ in 1..times() {
            let log = record(stage, "300")?;
            replay(&log, 1)?;
        }
        Ok(())
    });
}
