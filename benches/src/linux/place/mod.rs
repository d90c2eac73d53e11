//! Where the machines run: on lab hosts, or on this host.

mod here;
mod lab;

use ftvmm::control::Status;

pub use here::ThisHost;
pub use lab::LabHosts;

/// One of the two places for a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where it is live.
    Live,
    /// Where its secondary is.
    Shadow,
}

/// Two places for machines, each with a copy of the guest's disk.
pub trait Place {
    /// Says what kind of place this is.
    fn describe(&self) -> String;

    /// Starts `ftvmm ARGUMENTS --control SOCKET --console stdio` there.
    ///
    /// # Errors
    /// When it cannot be started.
    fn start(&self, side: Side, arguments: &[String]) -> anyhow::Result<Box<dyn Started + '_>>;

    /// The guest's kernel, as a path there.
    fn kernel(&self) -> String;

    /// The guest's disk, as a path there.
    fn disk(&self, side: Side) -> String;

    /// A file for a log, as a path there.
    fn log_file(&self) -> String;

    /// Takes that file away.
    ///
    /// # Errors
    /// When it is not there.
    fn remove_log_file(&self) -> anyhow::Result<()>;

    /// The arbiter's directory, as a path there.
    fn arbiter(&self) -> String;

    /// Where a secondary listens: ADDR:PORT, with port 0.
    fn listen(&self) -> String;

    /// Silence that counts as loss of the other side, ms.
    fn failure_timeout_ms(&self) -> u64;
}

/// A running ftvmm. It is killed when dropped.
pub trait Started {
    /// What it wrote to standard output: the guest's console, and where a secondary listens.
    fn output(&self) -> String;

    /// What it wrote to standard error.
    fn log(&self) -> String;

    /// How it ended, once it has; empty when it ended well.
    ///
    /// # Errors
    /// When that cannot be told.
    fn ended(&mut self) -> anyhow::Result<Option<String>>;

    /// Types a line at the guest's console.
    ///
    /// # Errors
    /// When it is not taken.
    fn type_line(&self, line: &str) -> anyhow::Result<()>;

    /// Its status.
    ///
    /// # Errors
    /// When it gives none.
    fn status(&self) -> anyhow::Result<Status>;

    /// Has its secondary dropped and seeded again.
    ///
    /// # Errors
    /// When it has none.
    fn restart_secondary(&self) -> anyhow::Result<()>;

    /// CPU seconds that it and what it stands on have used.
    ///
    /// # Errors
    /// When it is gone.
    fn cpu_s(&self) -> anyhow::Result<f64>;

    /// Its `/proc/ID/smaps`.
    ///
    /// # Errors
    /// When it is gone.
    fn smaps(&self) -> anyhow::Result<String>;
}
