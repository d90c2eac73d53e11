//! The echo guest: input from a console.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use ftvmm::demo::wait;
use ftvmm_tests::{
    harness,
    record::{self, Log},
};
use tempfile::TempDir;

use super::{replay, times};

const SOON: Duration = Duration::from_secs(15);
const LINES: [&str; 4] =
    ["\n", "one\n", "the second of the lines, longer than a serial port's queue\n", "bye\n"];

/// Records the echo guest while lines are typed to it, each one when the one before has come back.
pub fn record(directory: &Path) -> anyhow::Result<PathBuf> {
    let socket = directory.join("console");
    let console = format!("unix={}", socket.display());
    let options = ["--kernel", "builtin:echo", "--memory", "4", "--console", &console];
    let (mut recording, log) = record::start(directory, "echo", &options)?;
    let mut console = wait::until("the console", SOON, || {
        recording.expect_alive()?;
        Ok(UnixStream::connect(&socket).ok())
    })?;
    console.set_read_timeout(Some(SOON))?;
    for line in LINES {
        console.write_all(line.as_bytes())?;
        read_until(&mut console, line)?;
    }
    record::finish(recording)?;
    anyhow::ensure!(!socket.exists(), "the console's socket is left behind");
    Ok(log)
}

/// Reads until what came ends with `line`: what the guest said before the client was there may precede it.
fn read_until(console: &mut UnixStream, line: &str) -> anyhow::Result<()> {
    let (mut said, mut byte) = (Vec::new(), [0]);
    while !said.ends_with(line.as_bytes()) {
        console.read_exact(&mut byte)?;
        said.push(byte[0]);
    }
    Ok(())
}

#[test]
fn echo() -> anyhow::Result<()> {
    if !harness::require_kvm() {
        return Ok(());
    }
    let directory = TempDir::with_prefix("ftvmm-test-")?;
    for time in 0..times() {
        let log = record(directory.path())?;
        let steps = Log::read(&log)?.all_steps();
        let typed: Vec<u8> =
            steps.iter().flat_map(|step| &step.events).flat_map(|event| event.payload().to_vec()).collect();
        assert_eq!(String::from_utf8_lossy(&typed), LINES.concat());
        replay(&log, if time == 0 { times() } else { 1 })?;
    }
    Ok(())
}
