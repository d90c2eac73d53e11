//! Primaries and secondaries on lab hosts.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use ftvmm::control::{State, Status, Takeover};

use super::{Host, Output, Running};

/// How long a machine may take to begin, to be seeded, or to be taken over. Lab hosts are slow.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at a status: each is a program started in the host.
const LOOK: Duration = Duration::from_millis(150);

/// What all members of a pair have in common.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Silence that counts as loss of the peer, ms.
    pub failure_timeout_ms: u64,
    /// Options of the primary: its guest.
    pub guest: Vec<String>,
    /// Options of both sides, such as `--disk`.
    pub both: Vec<String>,
}

/// A running primary or secondary.
#[derive(Debug)]
pub struct Member {
    /// The process.
    pub running: Running,
    name: String,
    control: String,
}

impl Setup {
    /// A pair with the kv guest.
    #[must_use]
    pub fn kv() -> Self {
        let guest = ["--kernel", "builtin:kv", "--memory", "64"].map(str::to_owned).to_vec();
        Self { failure_timeout_ms: 3000, guest, both: Vec::new() }
    }

    /// Starts a secondary on `host` and waits until it listens; gives it and where it listens.
    ///
    /// # Errors
    /// When it ends, or does not listen in time.
    pub fn secondary(&self, host: &Host, name: &str) -> anyhow::Result<(Member, String)> {
        let listen = format!("{}:0", host.address());
        let member = self.member(host, "secondary", name, &["--listen".to_owned(), listen])?;
        let listening = |output: &str| {
            output.lines().find_map(|line| line.strip_prefix("listening on ").map(str::to_owned))
        };
        let address = member.running.wait_output("where it listens", PATIENCE, listening);
        Ok((member, address.with_context(|| format!("{name} on host {}", host.name()))?))
    }

    /// Starts a primary on `host` with the peer `peer` (HOST:PORT).
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn primary(&self, host: &Host, name: &str, peer: &str) -> anyhow::Result<Member> {
        let mut arguments = self.guest.clone();
        arguments.extend(["--peer".to_owned(), peer.to_owned()]);
        self.member(host, "primary", name, &arguments)
    }

    fn member(&self, host: &Host, role: &str, name: &str, own: &[String]) -> anyhow::Result<Member> {
        let control = format!("/tmp/{name}.control");
        let timeout = self.failure_timeout_ms.to_string();
        let console = format!("file=/shared/{name}.guest");
        let common = ["--net", "tap=vm0", "--console", &console, "--arbiter", "file:/shared/arbiter"];
        let words = [role].into_iter().map(str::to_owned).chain(own.iter().cloned());
        let words = words.chain(self.both.iter().cloned()).chain(common.map(str::to_owned));
        let words = words.chain(["--failure-timeout", &timeout, "--control", &control].map(str::to_owned));
        let quoted: Vec<String> = words.map(|word| quote(&word)).collect();
        // What a host knows of its block devices outlives its power failures, as on a host with a disk of its own.
        let state = format!("STATE_DIRECTORY=/shared/state-{}", host.name());
        let command = format!("{state} NO_COLOR=1 exec ftvmm {}", quoted.join(" "));
        Ok(Member { running: host.spawn(name, &command)?, name: name.to_owned(), control })
    }
}

impl Member {
    /// Its control socket, on its host.
    #[must_use]
    pub fn control(&self) -> &str {
        &self.control
    }

    /// Runs `ftvmm COMMAND --control SOCKET` beside it. The command must succeed.
    ///
    /// # Errors
    /// With what it said, when it did not.
    pub fn ask(&self, host: &Host, command: &str) -> anyhow::Result<String> {
        host.succeed(&format!("ftvmm {command} --control {}", self.control))
    }

    /// Its status, unless it gives none: at the beginning there is no socket yet.
    fn status_now(&self, host: &Host) -> anyhow::Result<Option<Status>> {
        let command = format!("ftvmm status --json --control {}", self.control);
        let Output { status, stdout, .. } = host.run(&command)?;
        if status != 0 {
            return Ok(None);
        }
        let status = serde_json::from_str(&stdout);
        Ok(Some(status.with_context(|| format!("the status of {} is {stdout}", self.name))?))
    }

    /// Its status.
    ///
    /// # Errors
    /// When it gives none.
    pub fn status(&self, host: &Host) -> anyhow::Result<Status> {
        self.status_now(host)?
            .with_context(|| format!("{} gives no status: {}", self.name, self.running.log()))
    }

    /// Waits for a status that `wanted` accepts.
    ///
    /// # Errors
    /// When the process ends, or the time is over: with the last status.
    pub fn wait_status(
        &self,
        host: &Host,
        what: &str,
        wanted: impl Fn(&Status) -> bool,
    ) -> anyhow::Result<Status> {
        let deadline = Instant::now() + PATIENCE;
        let name = &self.name;
        loop {
            let ended = self.running.ended();
            ensure!(ended.is_none(), "{name} ended ({ended:?}): {}", self.running.log());
            let status = self.status_now(host)?;
            if let Some(status) = status.as_ref().filter(|status| wanted(status)) {
                return Ok(status.clone());
            }
            if Instant::now() > deadline {
                bail!("{name} is not {what}; it says {status:?} and {}", self.running.log());
            }
            thread::sleep(LOOK);
        }
    }

    /// Waits until this primary is protected.
    ///
    /// # Errors
    /// As [`wait_status`](Self::wait_status).
    pub fn wait_protected(&self, host: &Host) -> anyhow::Result<Status> {
        self.wait_status(host, "protected", |status| status.state == State::Protected)
    }

    /// Waits until this primary runs the machine alone.
    ///
    /// # Errors
    /// As [`wait_status`](Self::wait_status).
    pub fn wait_alone(&self, host: &Host) -> anyhow::Result<Status> {
        self.wait_status(host, "alone", |status| status.state == State::Unprotected)
    }

    /// Waits until this secondary has taken over and the guest has spoken since.
    ///
    /// # Errors
    /// As [`wait_status`](Self::wait_status).
    pub fn wait_takeover(&self, host: &Host) -> anyhow::Result<Takeover> {
        let spoken =
            |status: &Status| status.takeover.as_ref().is_some_and(|it| it.first_output_ms.is_some());
        let status = self.wait_status(host, "the primary", spoken)?;
        status.takeover.context("a takeover that was there is gone")
    }
}

/// A word for the shell.
#[must_use]
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
