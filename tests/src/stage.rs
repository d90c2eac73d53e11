//! A network with pairs in it, for one test at a time.

mod play;

pub use play::{alone, play, play_on_hosts, play_on_hosts_with_disk, play_with_disk};

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use ftlog::DiskMode;
use ftvmm::demo::{
    client::{self, History, Load, LoadPlan, Mix},
    net,
    pair::{Member, Place, Setup},
    process::Process,
    verdict::{self, Counted},
};
use tempfile::TempDir;

use crate::{disks::Disks, harness, linearizability};

/// The longest wait of a client: far longer than any takeover.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How many clients a test has unless it says otherwise.
pub const CLIENTS: u32 = 5;
const TAPS: [&str; 4] = ["tap-a", "tap-b", "tap-c", "tap-d"];

/// A network, a directory and an arbiter.
pub struct Stage {
    /// What the members have in common.
    pub setup: Setup,
    /// All times of clients count from here.
    pub epoch: Instant,
    disks: Option<Disks>,
    directory: TempDir,
    names: AtomicU32,
}

/// A protected VM.
pub struct Pair {
    /// The live side.
    pub primary: Member,
    /// Its shadow.
    pub secondary: Member,
    /// Where the secondary listens.
    pub address: String,
}

impl Stage {
    /// What the members have in common, and these options of both sides.
    #[must_use]
    pub fn setup_with(&self, options: Vec<String>) -> Setup {
        Setup { primary_options: options.clone(), secondary_options: options, ..self.setup.clone() }
    }

    fn new(failure_timeout_ms: u64) -> anyhow::Result<Self> {
        let directory = TempDir::with_prefix("ftvmm-test-")?;
        let arbiter = directory.path().join("arbiter");
        fs::create_dir(&arbiter)?;
        let (program, kernel) = (harness::program()?, "builtin:kv".to_owned());
        let setup = Setup {
            program,
            kernel,
            directory: directory.path().to_owned(),
            arbiter,
            failure_timeout_ms,
            primary_options: Vec::new(),
            secondary_options: Vec::new(),
        };
        Ok(Self { setup, epoch: Instant::now(), disks: None, directory, names: AtomicU32::new(0) })
    }

    fn with_disk(mut self, mode: DiskMode) -> anyhow::Result<Self> {
        "builtin:ledger".clone_into(&mut self.setup.kernel);
        self.disks = Some(Disks::create(self.directory.path(), mode, &TAPS)?);
        Ok(self)
    }

    fn close(&mut self, keep: bool) {
        if keep {
            self.directory.disable_cleanup(true);
            eprintln!("logs and consoles are in {}", self.directory.path().display());
        }
    }

    /// The test's own directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A name that no other process of this test has.
    #[must_use]
    pub fn name(&self, role: &str) -> String {
        format!("{role}-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// A TAP device that is not in `taken`.
    #[must_use]
    pub fn free_tap(&self, taken: &[&Member]) -> &'static str {
        let free = |tap: &&&str| taken.iter().all(|member| member.tap != **tap);
        TAPS.iter().find(free).expect("a test has fewer members than there are TAP devices")
    }

    /// The disks of the test.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn disks(&self) -> &Disks {
        self.disks.as_ref().expect("a test that is played with a disk")
    }

    /// The host with this TAP device.
    fn place<'a>(&'a self, tap: &'a str) -> Place<'a> {
        self.equip(Place::here(tap))
    }

    /// A host with the disk that the test has there, if it has one.
    #[must_use]
    pub fn equip<'a>(&'a self, place: Place<'a>) -> Place<'a> {
        let disks = self.disks.as_ref().map_or(&[][..], |disks| disks.options(place.tap));
        Place { disks, ..place }
    }

    /// A secondary that listens, and where.
    ///
    /// # Errors
    /// When it does not.
    pub fn secondary(&self, taken: &[&Member]) -> anyhow::Result<(Member, String)> {
        self.setup.secondary(&self.name("secondary"), self.place(self.free_tap(taken)))
    }

    /// A primary with the peer `address`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn primary(&self, taken: &[&Member], address: &str) -> anyhow::Result<Member> {
        self.setup.primary(&self.name("primary"), self.place(self.free_tap(taken)), address)
    }

    /// A protected VM.
    ///
    /// # Errors
    /// When it is not protected in time.
    pub fn pair(&self) -> anyhow::Result<Pair> {
        self.pair_of(&self.setup)
    }

    /// A protected VM whose primary is set up otherwise.
    ///
    /// # Errors
    /// When it is not protected in time.
    pub fn pair_of(&self, setup: &Setup) -> anyhow::Result<Pair> {
        let (secondary, address) = self.secondary(&[])?;
        let place = self.place(self.free_tap(&[&secondary]));
        let mut primary = setup.primary(&self.name("primary"), place, &address)?;
        primary.wait_protected()?;
        Ok(Pair { primary, secondary, address })
    }

    /// Clients of the guest, with the first answers there.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn load(&self, mix: Mix, pause: Duration, seed: u64) -> anyhow::Result<Load> {
        let plan = LoadPlan {
            address: guest(),
            connections: CLIENTS,
            prefix: self.name("key"),
            mix,
            pause,
            patience: PATIENCE,
            seed,
        };
        let load = Load::start(&plan, self.epoch)?;
        load.await_answers(u64::from(CLIENTS), PATIENCE)?;
        Ok(load)
    }

    /// Runs the program with these arguments to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn ftvmm(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(&self.setup.program);
        command.args(arguments).output().with_context(|| format!("cannot run {command:?}"))
    }

    /// Starts a client program; it gets its arguments and writes into the test's directory.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn spawn(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Process> {
        let mut command = Command::new(program);
        command.args(arguments);
        Process::start(command, &self.name(program), self.directory(), None)
            .with_context(|| format!("{program} is needed (package redis-tools)"))
    }
}

/// Where the guest serves.
#[must_use]
pub fn guest() -> SocketAddr {
    net::GUEST.into()
}

/// Ends a load and judges it: nothing lost, nothing repeated, one order explains every answer, no connection broke.
///
/// # Errors
/// What is wrong.
pub fn judge(load: Load) -> anyhow::Result<History> {
    let history = load.stop()?;
    ensure!(history.gave_up.is_empty(), "clients gave up: {:?}", history.gave_up);
    let refusals = history.refusals();
    ensure!(refusals.is_empty(), "the guest refused {} times: {:?}", refusals.len(), refusals[0]);
    let counters = client::read_counters(guest(), &history, PATIENCE)?;
    let counted = verdict::count(&history, &counters);
    ensure!(matches!(counted, Counted { lost: 0, repeated: 0, .. }), "{counted:?}");
    linearizability::check(&history.operations).map_err(|violation| anyhow::anyhow!("{violation}"))?;
    let (survived, connections) = (history.survived, history.connections);
    ensure!(survived == connections, "only {survived} of {connections} connections survived");
    println!(
        "{} operations, {} increments acknowledged, longest gap {:.0} ms",
        history.operations.len(),
        counted.acknowledged,
        history.longest_gap_ns() as f64 / 1e6
    );
    Ok(history)
}
