//! ftvmm: an unprotected primary on host a is given a secondary on host b.

use std::{thread, time::Duration};

use anyhow::{Context, ensure};
use ftvmm::{
    control::{SeedReport, State, Status},
    demo::wait,
};
use ftvmm_tests::lab::{Output, member::quote};

use crate::{
    guest::{CMDLINE, Guest, MEMORY_MIB, PATIENCE},
    monitor::{Monitor, Passage, mib},
    place::Place,
};

const CONTROL: &str = "/tmp/migrate.control";
/// Nobody listens there: until it is told of a secondary, the primary is alone.
const NOBODY: &str = "10.78.0.2:1";
/// Silence that counts as loss, ms.
const TIMEOUT_MS: u32 = 3000;

/// A primary, and its secondary while there is one.
pub struct Ftvmm<'a> {
    place: &'a Place,
    guest: Guest<'a>,
    secondary: Option<Secondary<'a>>,
    /// What both sides are told.
    both: String,
}

struct Secondary<'a> {
    process: Guest<'a>,
    address: String,
}

impl<'a> Ftvmm<'a> {
    /// Starts the primary.
    ///
    /// # Errors
    /// When its host cannot be reached.
    pub fn start(place: &'a Place, name: &str, disk: &str) -> anyhow::Result<Self> {
        let both = format!(
            "--net tap=vm0 --disk path={disk},mode=shared --arbiter file:/shared/arbiter \
             --failure-timeout {TIMEOUT_MS}"
        );
        let cmdline = quote(CMDLINE);
        let vm = format!("--name {name} --kernel /files/vmlinux --memory {MEMORY_MIB} --cmdline {cmdline}");
        let primary = format!("ftvmm primary {vm} {both} --peer {NOBODY} --control {CONTROL}");
        let guest = Guest::start(place.hosts()[0], "ftvmm-primary", &primary)?;
        Ok(Self { place, guest, secondary: None, both })
    }

    fn ask(&self, command: &str) -> anyhow::Result<String> {
        let Output { status, stdout, stderr } =
            self.guest.host.run_within(PATIENCE, &format!("ftvmm {command} --control {CONTROL}"))?;
        ensure!(status == 0, "ftvmm {command}: exit status {status}\n{stdout}{stderr}");
        Ok(stdout)
    }

    fn await_alone(&self) -> anyhow::Result<()> {
        wait::until("the primary to be alone", PATIENCE, || {
            thread::sleep(Duration::from_millis(200));
            let status: Status = serde_json::from_str(&self.ask("status --json")?)?;
            Ok((status.state == State::Unprotected).then_some(()))
        })
    }
}

impl Monitor for Ftvmm<'_> {
    fn guest(&self) -> &Guest<'_> {
        &self.guest
    }

    /// A new process each time: one that has been a secondary before has most of the memory already.
    fn make_ready(&mut self) -> anyhow::Result<()> {
        let host = self.place.hosts()[1];
        let (listen, both) = (host.address(), &self.both);
        let process =
            Guest::start(host, "ftvmm-secondary", &format!("ftvmm secondary --listen {listen}:0 {both}"))?;
        let listening = |output: &str| {
            output.lines().find_map(|line| line.strip_prefix("listening on ").map(str::to_owned))
        };
        let address = process.running.wait_output("where it listens", PATIENCE, listening)?;
        self.secondary = Some(Secondary { process, address });
        Ok(())
    }

    fn pass(&mut self) -> anyhow::Result<Passage> {
        let to = &self.secondary.as_ref().context("there is no secondary")?.address;
        let said = self.ask(&format!("protect --to {to} --wait --json"))?;
        let seed: SeedReport = serde_json::from_str(&said).with_context(|| format!("it says {said}"))?;
        Ok(Passage {
            stop_ms: seed.stop.total_ms,
            held_ms: Some(seed.held_ms),
            total_ms: seed.total_ms,
            rounds: f64::from(seed.rounds),
            sent_mib: mib(seed.sent_bytes as f64),
            stop: Some(seed.stop),
            slowed_percent: Some(seed.slowed_percent),
            limit_ms: None,
        })
    }

    fn let_go(&mut self) -> anyhow::Result<()> {
        self.ask("turn-off")?;
        self.await_alone()?;
        self.secondary.take().context("there is no secondary")?.process.end()
    }

    fn end(self: Box<Self>) -> anyhow::Result<()> {
        self.guest.end()
    }
}
