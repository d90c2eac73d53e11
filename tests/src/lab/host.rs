//! A lab host.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use ftvmm::demo::{process::Process, wait};

use super::{
    Output, Plan, Running,
    network::{PORTS, Ports},
    qemu,
    remote::Line,
    wire,
};

/// How long a host may take to start. Alone it takes five seconds.
const BOOT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a command may take that should be done soon.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// A host, switched on or off.
pub struct Host {
    name: &'static str,
    boot: PathBuf,
    directory: PathBuf,
    plan: Plan,
    ports: Ports,
    machine: Option<Process>,
    line: Line,
    /// How often it was switched on.
    starts: u32,
}

impl Host {
    /// A host that is off.
    pub(super) fn new(
        name: &'static str,
        boot: &Path,
        directory: &Path,
        plan: &Plan,
    ) -> anyhow::Result<Self> {
        let ports = PORTS[usize::from(name != "a")];
        let agent: SocketAddr = format!("{}:{}", ports.control, wire::PORT).parse()?;
        let host = Self {
            name,
            boot: boot.to_owned(),
            directory: directory.to_owned(),
            plan: plan.clone(),
            ports,
            machine: None,
            line: Line::new(agent),
            starts: 0,
        };
        if let Some(image) = &plan.disk {
            copy_sparse(image, &host.disk())?;
        }
        Ok(host)
    }

    /// `a` or `b`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its address towards the other host.
    #[must_use]
    pub fn address(&self) -> &'static str {
        self.ports.ft
    }

    /// Its address towards the harness.
    #[must_use]
    pub fn control_address(&self) -> &'static str {
        self.ports.control
    }

    /// The file behind its `/dev/vda`.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.directory.join(format!("{}.disk", self.name))
    }

    /// The log of its serial console.
    #[must_use]
    pub fn console(&self) -> PathBuf {
        self.directory.join(format!("{}.console", self.name))
    }

    /// The socket of its serial console, for one at a time.
    #[must_use]
    pub fn serial(&self) -> PathBuf {
        self.directory.join(format!("{}.serial", self.name))
    }

    /// The process that is the host, while it is on.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.machine.as_ref().map(Process::id)
    }

    /// Switches it on without waiting.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        ensure!(self.machine.is_none(), "host {} is on already", self.name);
        self.starts += 1;
        let command = qemu::command(self.name, &self.boot, &self.directory, &self.plan, &self.ports);
        let process = format!("host-{}-{}", self.name, self.starts);
        self.machine = Some(Process::start(command, &process, &self.directory, None)?);
        Ok(())
    }

    /// Waits until it takes commands.
    pub(super) fn wait_up(&mut self) -> anyhow::Result<()> {
        let machine = self.machine.as_mut().context("it is off")?;
        let line = &self.line;
        wait::until(&format!("host {} to start", self.name), BOOT_TIMEOUT, || {
            machine.expect_alive()?;
            Ok(line.is_answered().then_some(()))
        })
        .with_context(|| format!("its console is in {}", self.console().display()))
    }

    /// Switches it on, and waits until it takes commands. Its memory and what was not on a disk is gone. It dies with
    /// the calling thread.
    ///
    /// # Errors
    /// When it is on, or does not start.
    pub fn power_on(&mut self) -> anyhow::Result<()> {
        self.start()?;
        self.wait_up()
    }

    /// A power failure: from one instruction to the next, the host is no more.
    ///
    /// # Errors
    /// When it is off already.
    pub fn power_off_now(&mut self) -> anyhow::Result<()> {
        let mut machine = self.machine.take().with_context(|| format!("host {} is off", self.name))?;
        machine.kill()?;
        // Nobody is left who could close these.
        self.line.cut();
        Ok(())
    }

    /// Runs a shell command to its end.
    ///
    /// # Errors
    /// When the host cannot be reached, or the command takes more than a minute. Not when the command fails.
    pub fn run(&self, command: &str) -> anyhow::Result<Output> {
        self.run_within(COMMAND_TIMEOUT, command)
    }

    /// As [`run`](Self::run), with a time of its own.
    ///
    /// # Errors
    /// As there.
    pub fn run_within(&self, timeout: Duration, command: &str) -> anyhow::Result<Output> {
        let about = || format!("host {}: {command}", self.name);
        self.line.start(command, None).and_then(|running| running.output_within(timeout)).with_context(about)
    }

    /// Runs a shell command that must succeed; gives its standard output.
    ///
    /// # Errors
    /// As [`run`](Self::run), and when it fails: with what it said.
    pub fn succeed(&self, command: &str) -> anyhow::Result<String> {
        let Output { status, stdout, stderr } = self.run(command)?;
        ensure!(status == 0, "host {}: {command}: exit status {status}\n{stdout}{stderr}", self.name);
        Ok(stdout)
    }

    /// Starts a shell command that goes on. What it says is also kept in files of the lab's directory that begin with
    /// `name`. It is killed when the result is dropped.
    ///
    /// # Errors
    /// When the host cannot be reached.
    pub fn spawn(&self, name: &str, command: &str) -> anyhow::Result<Running> {
        let kept = self.directory.join(format!("{}-{name}", self.name));
        self.line.start(command, Some(&kept)).with_context(|| format!("host {}: {command}", self.name))
    }
}

/// Copies an image without filling its holes.
///
/// # Errors
/// When `cp` fails.
pub fn copy_sparse(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut copy = Command::new("cp");
    copy.args(["--sparse=always", "--reflink=auto"]).arg(from).arg(to);
    let status = copy.status().context("cannot run cp")?;
    ensure!(status.success(), "cannot copy {} to {}: {status}", from.display(), to.display());
    Ok(())
}
