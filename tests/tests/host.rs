//! What is around a VM on its host: sockets and files that may be others', consoles that fail, descriptors that run out.
//!
//! Needs root. Where KVM is missing, `FTVMM_TEST_WITHOUT_KVM=1` skips these tests.

#[path = "host/consoles.rs"]
mod consoles;
#[path = "host/descriptors.rs"]
mod descriptors;
#[path = "host/session.rs"]
mod session;
#[path = "host/sockets.rs"]
mod sockets;
#[path = "host/terminal.rs"]
mod terminal;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Context;
use ftvmm::{
    control::{self, Request, Status},
    demo::{process::Process, wait},
};
use ftvmm_tests::harness;
use tempfile::TempDir;

/// How long anything may take that should happen soon.
const SOON: Duration = Duration::from_secs(30);

/// A directory, and machines that run in it.
struct Place(TempDir);

impl Place {
    fn new() -> anyhow::Result<Self> {
        Ok(Self(TempDir::with_prefix("ftvmm-test-")?))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `ftvmm run` in this directory, with the echo guest and these options.
    fn command(&self, options: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(harness::program()?);
        command.args(["run", "--kernel", "builtin:echo", "--memory", "16"]).current_dir(self.0.path());
        command.args(options).env("NO_COLOR", "1");
        Ok(command)
    }

    /// Starts one.
    fn start(&self, name: &str, options: &[&str]) -> anyhow::Result<Process> {
        Process::start(self.command(options)?, name, self.0.path(), None)
    }

    /// Starts one that does not come far: its exit status and what it said.
    fn refused(&self, options: &[&str]) -> anyhow::Result<String> {
        let run = self.command(options)?.output()?;
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        anyhow::ensure!(run.status.code() == Some(3), "{options:?}: {}: {said}", run.status);
        Ok(said)
    }
}

/// Waits until the process at this control socket has a status that is wanted.
fn wait_status(
    process: &mut Process,
    control: &Path,
    what: &str,
    mut wanted: impl FnMut(&Status) -> bool,
) -> anyhow::Result<Status> {
    let mut last = None;
    let waited = wait::until(what, SOON, || {
        process.expect_alive()?;
        let Ok(answer) = control::request(control, &Request::Status) else { return Ok(None) };
        let status: Status = serde_json::from_value(answer)?;
        last = Some(status.clone());
        Ok(Some(status).filter(|status| wanted(status)))
    });
    waited.with_context(|| format!("the last status: {last:?}"))
}

/// Waits until it runs, which is when it counts exits.
fn wait_running(process: &mut Process, control: &Path) -> anyhow::Result<Status> {
    wait_status(process, control, "the machine to run", |status| status.exits.total() > 0)
}
