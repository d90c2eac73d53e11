//! One process on one host, its clock, and the times and limits of all of them.

use std::fmt;

use protocol::Config;

use crate::faults::MS;

/// One process on one host; a process that is started again is another one, to the arbiter too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub host: usize,
    pub incarnation: u32,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host{}.{}", self.host, self.incarnation)
    }
}

/// A clock of its own: it starts anywhere and does not run at the speed of the others.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    pub offset_ns: u64,
    pub parts_per_million: u64,
    /// For how long it has stood, as a clock does whose host is stopped by its own hypervisor.
    pub stood_ns: u64,
}

impl Clock {
    pub fn read_ns(&self, now_ns: u64) -> u64 {
        self.offset_ns + now_ns / 1_000_000 * self.parts_per_million + now_ns % 1_000_000 - self.stood_ns
    }
}

pub const TICK_NS: u64 = 20 * MS;
pub const WINDOW_BYTES: u64 = 4096;
/// Steps per batch at most.
pub const BATCH_STEPS: u32 = 12;
/// What the vCPU thread of a primary may have under way to its link thread, in bytes.
pub const UNDER_WAY_BYTES: u64 = 1536;

pub fn core_config() -> Config {
    Config {
        failure_timeout_ns: 200 * MS,
        max_lag_ns: 300 * MS,
        batch_bytes: 512,
        held_outputs: 40,
        held_bytes: 1 << 20,
    }
}
