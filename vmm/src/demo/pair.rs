//! Primaries and secondaries as child processes.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Context;

use super::{net::Namespace, process::Process, wait};
use crate::control::{self, Request, State, Status, Takeover};

/// How long a process may take to begin, or a VM to be seeded.
pub const START_TIMEOUT: Duration = Duration::from_secs(10);

/// What all members of a pair have in common.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The ftvmm program.
    pub program: PathBuf,
    /// The guest: the value of `--kernel`.
    pub kernel: String,
    /// Where logs, consoles and control sockets go.
    pub directory: PathBuf,
    /// The arbiter's directory.
    pub arbiter: PathBuf,
    /// Silence that counts as loss of the peer, ms.
    pub failure_timeout_ms: u64,
    /// What else a primary is told.
    pub primary_options: Vec<String>,
    /// What else a secondary is told.
    pub secondary_options: Vec<String>,
}

/// Where a member runs.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Its TAP device.
    pub tap: &'a str,
    /// The address that a secondary there listens on.
    pub address: &'a str,
    /// The port, 0 for any.
    pub port: u16,
    /// Its network namespace, unless it is the calling thread's.
    pub namespace: Option<&'a Namespace>,
    /// The values of `--disk` there.
    pub disks: &'a [String],
}

impl<'a> Place<'a> {
    /// On this host, behind TAP device `tap`.
    #[must_use]
    pub const fn here(tap: &'a str) -> Self {
        Self { tap, address: "127.0.0.1", port: 0, namespace: None, disks: &[] }
    }
}

/// A running primary or secondary.
#[derive(Debug)]
pub struct Member {
    /// The process.
    pub process: Process,
    /// Its TAP device.
    pub tap: String,
    control: PathBuf,
}

impl Setup {
    /// Starts a secondary and waits until it listens; gives it and where it listens.
    ///
    /// # Errors
    /// When it ends, or does not listen in time.
    pub fn secondary(&self, name: &str, place: Place<'_>) -> anyhow::Result<(Member, String)> {
        let listen = format!("{}:{}", place.address, place.port);
        let mut arguments = vec!["--listen", &listen];
        arguments.extend(self.secondary_options.iter().map(String::as_str));
        let mut member = self.member("secondary", name, place, &arguments)?;
        let address = wait::until(&format!("{name} to listen"), START_TIMEOUT, || {
            member.process.expect_alive()?;
            let output = member.process.output();
            Ok(output.lines().find_map(|line| line.strip_prefix("listening on ").map(str::to_owned)))
        })?;
        Ok((member, address))
    }

    /// Starts a primary with the peer `peer` (HOST:PORT).
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn primary(&self, name: &str, place: Place<'_>, peer: &str) -> anyhow::Result<Member> {
        let mut arguments = vec!["--kernel", &self.kernel, "--memory", "64", "--peer", peer];
        arguments.extend(self.primary_options.iter().map(String::as_str));
        self.member("primary", name, place, &arguments)
    }

    fn member(&self, role: &str, name: &str, place: Place<'_>, arguments: &[&str]) -> anyhow::Result<Member> {
        let control = self.directory.join(format!("{name}.control"));
        let console = self.directory.join(format!("{name}.console"));
        let mut command = Command::new(&self.program);
        command.arg(role).args(arguments);
        command.arg("--net").arg(format!("tap={}", place.tap));
        command.args(place.disks.iter().flat_map(|disk| ["--disk", disk]));
        command.arg("--console").arg(format!("file={}", console.display()));
        command.arg("--arbiter").arg(format!("file:{}", self.arbiter.display()));
        command.arg("--failure-timeout").arg(self.failure_timeout_ms.to_string());
        command.arg("--control").arg(&control);
        // Its log is a file.
        command.env("NO_COLOR", "1");
        let process = Process::start(command, name, &self.directory, place.namespace)?;
        Ok(Member { process, tap: place.tap.to_owned(), control })
    }
}

impl Member {
    /// Its control socket.
    #[must_use]
    pub fn control(&self) -> &Path {
        &self.control
    }

    /// Asks it over its control socket.
    ///
    /// # Errors
    /// When it does not answer or refuses.
    pub fn ask(&self, request: &Request) -> anyhow::Result<serde_json::Value> {
        control::request(&self.control, request)
    }

    /// Its status.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> anyhow::Result<Status> {
        let answer = self.ask(&Request::Status)?;
        serde_json::from_value(answer).with_context(|| format!("{} gives no status", self.process.name()))
    }

    /// Waits for a status that `wanted` accepts.
    ///
    /// # Errors
    /// When the process ends, or the time is over: with the last status.
    pub fn wait_status(
        &mut self,
        what: &str,
        timeout: Duration,
        mut wanted: impl FnMut(&Status) -> bool,
    ) -> anyhow::Result<Status> {
        let mut last = None;
        let waited = wait::until(&format!("{} to be {what}", self.process.name()), timeout, || {
            self.process.expect_alive()?;
            // Until the socket is there.
            let Ok(status) = self.status() else { return Ok(None) };
            last = Some(status);
            Ok(last.clone().filter(|status| wanted(status)))
        });
        waited.with_context(|| format!("last status of {}: {last:?}", self.process.name()))
    }

    /// Waits until this primary is protected.
    ///
    /// # Errors
    /// As [`wait_status`](Self::wait_status).
    pub fn wait_protected(&mut self) -> anyhow::Result<Status> {
        self.wait_status("protected", START_TIMEOUT, |status| status.state == State::Protected)
    }

    /// Waits until this secondary has taken over and the guest has spoken since.
    ///
    /// # Errors
    /// As [`wait_status`](Self::wait_status).
    pub fn wait_takeover(&mut self) -> anyhow::Result<Takeover> {
        let spoken =
            |status: &Status| status.takeover.as_ref().is_some_and(|it| it.first_output_ms.is_some());
        let status = self.wait_status("the primary", START_TIMEOUT, spoken)?;
        status.takeover.context("a takeover that was there is gone")
    }

    /// Gives this primary a new secondary at `address` (HOST:PORT).
    ///
    /// # Errors
    /// When it refuses.
    pub fn protect(&self, address: &str) -> anyhow::Result<()> {
        self.ask(&Request::Protect { to: address.to_owned() }).map(drop)
    }
}
