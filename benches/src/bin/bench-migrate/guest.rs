//! A process of a monitor, and its Linux guest, used by its console as by a person.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ftvmm_benches::linux::guest::console::{find_line, last_lines};
use ftvmm_tests::lab::{Host, Running, member::quote};

/// The guest's memory, MiB.
pub const MEMORY_MIB: u32 = 512;
/// What both kernels are told.
pub const CMDLINE: &str =
    "console=ttyS0 quiet panic=-1 root=/dev/vda ip=10.77.0.2/24,10.77.0.1 ftvmm.workload=shell";
/// How long a guest may take to boot or to answer: two lab hosts are emulated on this machine's cores.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A console that is not read yet may lose a line: it is typed again after this time.
const AGAIN: Duration = Duration::from_secs(5);
/// The monitor's standard input. Open for reading and writing, a fifo waits for nobody and has no end.
const INPUT: &str = "/tmp/migrate.input";
/// Has the monitor's process ID.
const ID: &str = "/tmp/migrate.pid";
/// In memory only: what is measured is no disk.
const REDIS: &str =
    "redis-server --save '' --appendonly no --protected-mode no --bind 0.0.0.0 --daemonize yes >/dev/null";
const COMPILE: &str = "/usr/lib/ftvmm/workloads/compile";
/// Files compiled at first, so that the compiler is in memory.
const WARM: u32 = 2;

/// A monitor on a host whose console is its standard input and output.
pub struct Guest<'a> {
    /// Where it runs.
    pub host: &'a Host,
    /// The monitor.
    pub running: Running,
}

impl<'a> Guest<'a> {
    /// Starts the monitor. It is killed when this is dropped.
    ///
    /// # Errors
    /// When the host cannot be reached.
    pub fn start(host: &'a Host, name: &str, monitor: &str) -> anyhow::Result<Self> {
        let command =
            format!("rm -f {INPUT}; mkfifo {INPUT}; echo $$ >{ID}; NO_COLOR=1 exec {monitor} <>{INPUT}");
        Ok(Self { host, running: host.spawn(name, &command)? })
    }

    /// Waits until its shell takes commands.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn await_shell(&self) -> anyhow::Result<()> {
        self.await_line("shell: ", PATIENCE)?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            self.type_line("echo answer=$((6 * 7))")?;
            if self.await_line("answer=42", AGAIN).is_ok() {
                return Ok(());
            }
            self.ensure_runs()?;
        }
        bail!("the guest's shell does not answer: {}", last_lines(&self.running.output()))
    }

    /// Starts redis.
    ///
    /// # Errors
    /// When the shell does not take it.
    pub fn start_redis(&self) -> anyhow::Result<()> {
        self.type_line(&format!("{REDIS}; echo redis=$((6 * 7))"))?;
        self.await_line("redis=42", PATIENCE)
    }

    /// Starts to compile, without an end.
    ///
    /// # Errors
    /// When the first files cannot be compiled.
    pub fn start_compile(&self) -> anyhow::Result<()> {
        self.type_line(&format!("{COMPILE} 1 {WARM}"))?;
        self.await_line("WORKLOAD compile: ok", PATIENCE)?;
        self.type_line(&format!(
            "while {COMPILE} 1; do :; done >/dev/null 2>&1 & echo compiling=$((6 * 7))"
        ))?;
        self.await_line("compiling=42", PATIENCE)
    }

    /// Makes sure that the monitor has not ended.
    ///
    /// # Errors
    /// What it said when it has.
    pub fn ensure_runs(&self) -> anyhow::Result<()> {
        match self.running.ended() {
            None => Ok(()),
            Some(ended) => bail!("the monitor ended ({ended:?}): {}", last_lines(&self.running.log())),
        }
    }

    /// Ends the monitor, and waits until it has: as long as it is there, it has the TAP device and its ports.
    ///
    /// # Errors
    /// When it does not end.
    pub fn end(&self) -> anyhow::Result<()> {
        self.host.succeed(&format!("kill -9 $(cat {ID})"))?;
        self.running.wait_end(PATIENCE).map(drop)
    }

    fn type_line(&self, line: &str) -> anyhow::Result<()> {
        self.host.succeed(&format!("echo {} >{INPUT}", quote(line))).map(drop)
    }

    /// Waits for a line on the console that begins with `start`.
    fn await_line(&self, start: &str, patience: Duration) -> anyhow::Result<()> {
        let what = format!("{start:?} on the guest's console");
        let found = self.running.wait_output(&what, patience, |output| find_line(output, 0, start));
        let said = || format!("the console ends with {}", last_lines(&self.running.output()));
        found.map(drop).with_context(said)
    }
}
