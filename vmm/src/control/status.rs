//! What `ftvmm status` tells.

use machine::{EventCounts, ExitCounts};
use serde::{Deserialize, Serialize};

use super::{ConsoleReport, DeltaReport, DiskReport, NetReport, SeedReport, SeedingReport};

/// Which part a process plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It runs the VM.
    Primary,
    /// It replays the VM, or waits to.
    #[default]
    Secondary,
    /// It runs or records a VM that nobody protects.
    Alone,
}

/// Where a process is; see [`protocol`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Primary: claims its first generation.
    Starting,
    /// Primary: runs alone.
    Unprotected,
    /// Either: the secondary gets the VM's state.
    Seeding,
    /// Primary: the secondary follows.
    Protected,
    /// Primary: lets go of its secondary.
    Detaching,
    /// Either: lost its peer and asks the arbiter.
    Arbitrating,
    /// Primary: the VM goes on elsewhere.
    Halted,
    /// Secondary: waits for a primary.
    #[default]
    Listening,
    /// Secondary: replays behind the primary.
    Following,
    /// Secondary: executes the rest of the log.
    Draining,
}

/// A takeover, in parts. All in ms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Takeover {
    /// Why the primary was counted as lost.
    pub reason: String,
    /// The generation won.
    pub generation: u64,
    /// From the last sign of life to counting the primary as lost.
    pub detection_ms: f64,
    /// From there until all received log was executed.
    pub drain_ms: f64,
    /// From there until the arbiter's answer.
    pub arbitration_ms: f64,
    /// From there until the VM ran live, announced on its network.
    pub resume_ms: f64,
    /// From there until the VM said something new; none until it has.
    pub first_output_ms: Option<f64>,
    /// From the last sign of life until the VM ran live.
    pub total_ms: f64,
}

/// How long outputs waited at the gate, µs, since protection began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CommitDelay {
    /// Half of them waited at most this long.
    pub p50: f64,
    /// 99 of 100 waited at most this long.
    pub p99: f64,
    /// How many were measured.
    pub count: u64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Unix time, ms.
    pub time_ms: u64,
    /// What.
    pub text: String,
}

/// Something that does not work now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What: one of a few words, such as "console".
    pub what: String,
    /// How it shows.
    pub text: String,
    /// Since when, Unix time in ms.
    pub since_ms: u64,
}

/// The answer to `status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Which part this process plays.
    pub role: Role,
    /// Where it is.
    pub state: State,
    /// The VM's name.
    pub name: Option<String>,
    /// The VM, in hexadecimal.
    pub vm: Option<String>,
    /// The generation.
    pub generation: u64,
    /// The last sync point: recorded on a primary, executed on a secondary.
    pub position: u64,
    /// Virtual time there, ms.
    pub guest_time_ms: f64,
    /// For how long the guest has run without coming to a position, ms; 0 where it waits for input.
    pub guest_silent_ms: f64,
    /// The peer, where one is set or connected.
    pub peer: Option<String>,
    /// Age of the oldest record that is not executed on the secondary.
    pub lag_ms: f64,
    /// Records that are not executed on the secondary.
    pub lag_records: u64,
    /// How often a primary found which lag, since protection began: up to so many ms, so many times. It looks every
    /// 10 ms at most; lags that it never found are left out.
    pub lag_counts: Vec<(f64, u64)>,
    /// Log sent (primary) or received (secondary) since the seed, or written to a file, bytes.
    pub log_bytes: u64,
    /// The same per second, over the last second or so.
    pub log_bytes_per_s: f64,
    /// What the guest exited for, since this process has had the VM; not on a secondary.
    pub exits: ExitCounts,
    /// What the guest was told, since then; not on a secondary.
    pub inputs: EventCounts,
    /// How often the machine was reset, since then; not on a secondary.
    pub resets: u64,
    /// What it took to stop a guest that computes.
    pub deltas: DeltaReport,
    /// How long outputs waited.
    pub commit_delay_us: CommitDelay,
    /// Outputs that wait now.
    pub held_outputs: u64,
    /// The disks, in the order of `--disk`.
    pub disks: Vec<DiskReport>,
    /// The console.
    pub console: ConsoleReport,
    /// The network card; not on a secondary.
    pub net: Option<NetReport>,
    /// How fast the vCPU may run: full, slow, stopped.
    pub pace: String,
    /// The seed that is under way, while the guest runs.
    pub seeding: Option<SeedingReport>,
    /// The last seed, on the side that sent it.
    pub seed: Option<SeedReport>,
    /// Why the peer was last lost, or could not be had.
    pub last_loss: Option<String>,
    /// The takeover that made this process the primary.
    pub takeover: Option<Takeover>,
    /// What does not work now.
    pub troubles: Vec<Trouble>,
    /// What happened, oldest first; the last 64.
    pub events: Vec<Notice>,
}
