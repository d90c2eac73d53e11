//! Times and limits.

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
pub const MAX_HEARTBEAT_NS: u64 = 50_000_000;

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

    /// For how long a side may have something to execute and execute nothing, in ns; beyond that it counts as lost.
    ///
    /// By then the guest has stood at twice the lag limit for as long again: a service that stands still is worse than
    /// one that is unprotected.
    #[must_use]
    pub const fn stall_ns(&self) -> u64 {
        let (lag_ns, silence_ns) =
            (self.max_lag_ns.saturating_mul(4), self.failure_timeout_ns.saturating_mul(4));
        if lag_ns > silence_ns { lag_ns } else { silence_ns }
    }

    /// For how long a secondary may execute nothing of what it was sent, in ns, whatever it says of itself. A stretch that
    /// took so long to record takes as long to execute, and the guest of a secondary that is that far behind stands.
    #[must_use]
    pub const fn standstill_ns(&self) -> u64 {
        let (least_ns, stall_ns) = (30_000_000_000, self.stall_ns().saturating_mul(2));
        if stall_ns > least_ns { stall_ns } else { least_ns }
    }

    /// How long after it sent log that the secondary has acknowledged a primary may write shared disks, in ns; see
    /// [`Fence`](crate::fence::Fence).
    #[must_use]
    pub const fn lease_ns(&self) -> u64 {
        self.failure_timeout_ns / 2
    }
}
