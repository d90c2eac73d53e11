//! The protocol cores: what a primary and a secondary do about each other.
//!
//! Each core is a state machine `(state, event, now) → (state, effects)`: no I/O, no clock, no randomness, bounded
//! memory. The threads around it report events and carry out the effects *in the order given*. Time is the
//! monotonic clock of the core's own host in ns; two hosts' clocks are never compared.
//!
//! ```text
//!  primary, generation g                                secondary
//!      Unprotected ──── Hello ───────────────────────────►  │
//!        │   ◄───────── Welcome{window} ──────────────── Seeding
//!      Seeding ──────── state at position P ─────────────►  │
//!        │ gate closes                                      │
//!        ├───────────── SeedDone ────────────────────────►  │
//!        │   ◄───────── SeedHeld{P} ──────────────────── Following
//!      Protected ────── Steps P+1 … N ───────────────────►  │
//!        │   ◄───────── Ack{received N, executed …} ────────┤ before execution
//!        │ outputs ≤ N leave                                │
//!        ├───────────── Heartbeat{released} ─────────────►  │
//!        ╳                       link lost                  ╳
//!      Arbitrating                                       Draining ─ all executed ─► Arbitrating
//!        │── claim g+1: won  ► Unprotected at g+1            │── claim g+1: won  ► Live at g+1
//!        └── claim g+1: lost ► Halted                        └── claim g+1: lost ► Discarded
//! ```
//!
//! Safety rests on acknowledgements, on the order of effects and on the arbiter, never on time: a timeout that fires
//! too early, too late or after a process was stopped for an hour costs protection, not consistency.

use std::fmt;

use ftlog::Position;
use serde::Serialize;
use thiserror::Error;

mod arbitration;
mod detector;
pub mod primary;
pub mod secondary;

/// Why a peer is counted as lost.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Error)]
pub enum LossReason {
    /// The connection ended, between frames or within one: what was received is a whole prefix of the log.
    #[error("the connection was closed")]
    Closed,
    /// Nothing came for longer than the failure timeout.
    #[error("nothing heard for {} ms", silent_ns / 1_000_000)]
    Silent {
        /// How long, in ns.
        silent_ns: u64,
    },
    /// A frame failed its checksum, its sequence number or its decoding: what was received cannot be trusted.
    #[error("the stream is damaged")]
    Damaged,
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// The operator asked for it.
    #[error("detached by the operator")]
    Detached,
    /// This side has no use for a peer now.
    #[error("not wanted now")]
    Unwanted,
}

/// How a peer broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Error)]
pub enum Violation {
    /// Its buffer cannot take even two batches of log.
    #[error("a window of {window_bytes} bytes is too small, {least_bytes} are needed")]
    Window {
        /// What it offered.
        window_bytes: u64,
        /// What is needed.
        least_bytes: u64,
    },
    /// It confirmed a seed that is not the one it was sent.
    #[error("it holds a seed of position {found:?}, sent was {sent:?}")]
    Seed {
        /// The position it was sent, if any.
        sent: Option<Position>,
        /// The position it claims to hold.
        found: Position,
    },
    /// It acknowledged log before it held the seed.
    #[error("it acknowledged {acknowledged} before it held a seed")]
    AckEarly {
        /// What it acknowledged.
        acknowledged: Position,
    },
    /// It acknowledged log it was never sent.
    #[error("it acknowledged {acknowledged}, the last sent was {sent}")]
    AckAhead {
        /// What it acknowledged.
        acknowledged: Position,
        /// The last position sent.
        sent: Position,
    },
    /// It took an acknowledgement back, or executed more than it received.
    #[error(
        "it acknowledged received {received}, executed {executed} after received {before_received}, \
         executed {before_executed}"
    )]
    AckOrder {
        /// Received, as it says now.
        received: Position,
        /// Executed, as it says now.
        executed: Position,
        /// Received, as it said before.
        before_received: Position,
        /// Executed, as it said before.
        before_executed: Position,
    },
    /// It says that it executed more bytes of log than it was sent, or fewer than before.
    #[error("it executed {executed_bytes} bytes of log after {before_bytes}, of {sent_bytes} sent")]
    AckBytes {
        /// Bytes executed, as it says now.
        executed_bytes: u64,
        /// Bytes executed, as it said before.
        before_bytes: u64,
        /// Bytes sent.
        sent_bytes: u64,
    },
}

/// How fast the vCPU may run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// As fast as it can.
    #[default]
    Full,
    /// With pauses, so that the secondary can catch up.
    Slow,
    /// Not at all, and what is recorded but not yet sent must be sent: only the peer's progress ends this.
    Stopped,
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Slow => "slow",
            Self::Stopped => "stopped",
        })
    }
}

/// Times and limits, the same on both sides as far as possible; safety does not depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Config {
    /// Silence that counts as loss of the peer, in ns.
    pub failure_timeout_ns: u64,
    /// Age of the oldest record the secondary has not executed at which the vCPU is slowed, in ns; at twice this
    /// age it is stopped.
    pub max_lag_ns: u64,
    /// The most log, in bytes, that is handed to the channel at once (the bodies of its `Steps` frames).
    pub batch_bytes: u64,
    /// Held outputs at which the vCPU is stopped.
    pub held_outputs: u64,
    /// Held output at which the vCPU is stopped, in bytes.
    pub held_bytes: u64,
}

/// How often a side that has the VM looks at the arbiter, in ns: whether somebody was told to start it elsewhere.
pub const LOOK_NS: u64 = 1_000_000_000;
/// How long one who starts a VM that may still run elsewhere waits with it once the generation is his, in ns: enough
/// looks for a live side that can see the arbiter to have halted, also when one of them comes late.
pub const YIELD_NS: u64 = 5 * LOOK_NS;

/// The longest silence between two signs of life, in ns.
pub(crate) const MAX_HEARTBEAT_NS: u64 = 50_000_000;

impl Default for Config {
    fn default() -> Self {
        Self {
            failure_timeout_ns: 200_000_000,
            max_lag_ns: 1_000_000_000,
            batch_bytes: 1 << 20,
            held_outputs: 4096,
            held_bytes: 8 << 20,
        }
    }
}

impl Config {
    /// How long a side may be silent before it says that it is there, in ns. `Tick` must come at least this often.
    ///
    /// Bounded, because a primary that waits for its secondary's progress hears of it in a heartbeat.
    #[must_use]
    pub const fn heartbeat_ns(&self) -> u64 {
        let quarter_ns = self.failure_timeout_ns / 4;
        if quarter_ns < MAX_HEARTBEAT_NS { quarter_ns } else { MAX_HEARTBEAT_NS }
    }
}

impl Config {
    /// How long after it sent log that the secondary has acknowledged a primary may write shared disks, in ns; see
    /// [`Fence`](crate::disk::Fence).
    #[must_use]
    pub const fn lease_ns(&self) -> u64 {
        self.failure_timeout_ns / 2
    }
}

/// When the parts of a recovery happened, in ns of this host's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Recovery {
    /// When the peer was last heard.
    pub heard_ns: u64,
    /// When it was counted as lost; the difference is the time detection took.
    pub detected_ns: u64,
    /// When all received log was executed (on a primary: at once).
    pub drained_ns: Option<u64>,
    /// When the arbiter gave us the next generation.
    pub won_ns: Option<u64>,
}
