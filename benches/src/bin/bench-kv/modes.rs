//! The four ways to run the same guest that are compared.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use ftvmm::{
    control::{Request, Status, request},
    demo::{
        client::{Connection, Reply},
        net::GUEST,
        pair::{Member, Place, START_TIMEOUT, Setup},
        process::Process,
        wait,
    },
};
use rustix::process::Signal;
use serde::Serialize;

/// The TAP device of the side that is live.
pub const LIVE_TAP: &str = "tap-a";
/// That of its secondary.
pub const SHADOW_TAP: &str = "tap-b";
/// How long a server that is there may take to answer while it starts.
const ANSWER: Duration = Duration::from_millis(500);
/// How long a recording may take to write its end.
const END: Duration = Duration::from_secs(30);

/// How the guest is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// `ftvmm run`: what all else is compared with.
    Run,
    /// `ftvmm record`, to a file.
    Record,
    /// `ftvmm primary` with the peer that acknowledges and does not execute.
    AckPeer,
    /// `ftvmm primary` with `ftvmm secondary`.
    Pair,
}

impl Mode {
    /// In the order in which they are measured.
    pub const ALL: [Self; 4] = [Self::Run, Self::Record, Self::AckPeer, Self::Pair];

    /// As the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Record => "record",
            Self::AckPeer => "ack peer",
            Self::Pair => "full pair",
        }
    }
}

/// The guest, running in one of the modes, and serving.
pub struct Server {
    /// The process that runs the VM.
    pub vm: Process,
    /// The other side, where there is one.
    pub peer: Option<Process>,
    control: Option<PathBuf>,
    log: Option<PathBuf>,
}

impl Server {
    /// Starts it and waits until it serves, protected where the mode says so.
    pub fn start(mode: Mode, setup: &Setup, ack_peer: &Path) -> anyhow::Result<Self> {
        let server = match mode {
            Mode::Run => Self::alone(setup, "run", None)?,
            Mode::Record => Self::alone(setup, "record", Some(setup.directory.join("kv.ftlog")))?,
            Mode::AckPeer => {
                let (peer, address) = start_ack_peer(ack_peer, &setup.directory)?;
                Self::protected(setup, peer, &address)?
            }
            Mode::Pair => {
                let (peer, address) = setup.secondary("secondary", Place::here(SHADOW_TAP))?;
                Self::protected(setup, peer.process, &address)?
            }
        };
        server.await_answer().with_context(|| format!("the guest does not serve in mode {}", mode.name()))
    }

    fn alone(setup: &Setup, role: &str, log: Option<PathBuf>) -> anyhow::Result<Self> {
        let mut command = Command::new(&setup.program);
        command.args([role, "--kernel", "builtin:kv", "--memory", "64", "--net", &format!("tap={LIVE_TAP}")]);
        command.arg("--console").arg(format!("file={}", setup.directory.join("console").display()));
        if let Some(log) = &log {
            command.arg("--force").arg("--log").arg(log);
        }
        let vm = Process::start(command, role, &setup.directory, None)?;
        Ok(Self { vm, peer: None, control: None, log })
    }

    fn protected(setup: &Setup, peer: Process, address: &str) -> anyhow::Result<Self> {
        let mut primary = setup.primary("primary", Place::here(LIVE_TAP), address)?;
        primary.wait_protected()?;
        let control = Some(primary.control().to_owned());
        let Member { process, .. } = primary;
        Ok(Self { vm: process, peer: Some(peer), control, log: None })
    }

    fn await_answer(mut self) -> anyhow::Result<Self> {
        wait::until("the guest's first answer", START_TIMEOUT, || {
            self.vm.expect_alive()?;
            let reply = Connection::open(GUEST.into(), ANSWER).and_then(|mut guest| guest.call(&[b"PING"]));
            Ok(matches!(reply, Ok(Reply::Status(_))).then_some(()))
        })?;
        Ok(self)
    }

    /// What a primary says of itself.
    pub fn status(&self) -> anyhow::Result<Option<Status>> {
        let Some(control) = &self.control else { return Ok(None) };
        Ok(Some(serde_json::from_value(request(control, &Request::Status)?)?))
    }

    /// Bytes of log so far, as sent or as written; none without a log.
    pub fn log_bytes(&self) -> anyhow::Result<Option<u64>> {
        match &self.log {
            Some(log) => Ok(Some(fs::metadata(log)?.len())),
            None => Ok(self.status()?.map(|status| status.log_bytes)),
        }
    }

    /// Ends everything, the peer first so that it does not take over. A recording is brought to its orderly end; gives
    /// its file.
    pub fn stop(mut self) -> anyhow::Result<Option<PathBuf>> {
        drop(self.peer.take());
        let Some(log) = self.log.take() else { return Ok(None) };
        self.vm.signal(Signal::TERM)?;
        let status = self.vm.wait_end(END)?;
        ensure!(status.success(), "{} ended with {status}: {}", self.vm.name(), self.vm.log());
        Ok(Some(log))
    }
}

fn start_ack_peer(program: &Path, directory: &Path) -> anyhow::Result<(Process, String)> {
    let mut peer = Process::start(Command::new(program), "ack-peer", directory, None)?;
    let address = wait::until("ack-peer to listen", START_TIMEOUT, || {
        peer.expect_alive()?;
        Ok(peer.output().lines().find_map(|line| line.strip_prefix("listening on ").map(str::to_owned)))
    })?;
    Ok((peer, address))
}
