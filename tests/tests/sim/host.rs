//! One host: a clock, a process, and what waits for it.

use std::collections::VecDeque;
use std::fmt;

use ftlog::Generation;
use protocol::Config;
use protocol::arbiter::ClaimOutcome;
use protocol::primary::Link;
use protocol::primary::controller::{Attempt, Command};

use crate::faults::MS;
use crate::network::{Arrival, Conn};
use crate::primary_io::PrimaryIo;
use crate::secondary_io::SecondaryIo;

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
}

impl Clock {
    pub fn read_ns(&self, now_ns: u64) -> u64 {
        self.offset_ns + now_ns / 1_000_000 * self.parts_per_million + now_ns % 1_000_000
    }
}

/// What can happen to a process.
#[derive(Debug, Clone)]
pub enum Input {
    Tick,
    Arrival {
        conn: Conn,
        arrival: Arrival,
    },
    Answer {
        generation: Generation,
        outcome: ClaimOutcome,
    },
    /// What a look at the arbiter showed.
    Shown {
        generation: Generation,
        holder: Name,
    },
    /// The VM gets to run.
    Run,
    /// The next part of a seed is due.
    SeedPart {
        link: Link,
        part: u32,
    },
    /// The seed that arrived is loaded.
    Loaded {
        conn: Conn,
    },
    /// The operator wants something.
    Command(Command),
    /// A host has said whether it would be the secondary.
    Probed {
        attempt: Attempt,
        free: bool,
    },
    /// A handshake has had its time.
    GreetingOver {
        attempt: Attempt,
    },
}

pub enum Role {
    Down,
    /// Listens for a primary.
    Idle,
    Primary(Box<PrimaryIo>),
    Secondary(Box<SecondaryIo>),
}

/// What a role turns into by an effect.
pub enum Turn {
    Stay,
    Idle,
    Primary(Box<PrimaryIo>),
}

pub struct Host {
    pub name: Name,
    pub clock: Clock,
    pub role: Role,
    pub paused: bool,
    /// What happened while it was paused.
    pub inbox: VecDeque<Input>,
}

pub const TICK_NS: u64 = 20 * MS;
pub const WINDOW_BYTES: u64 = 4096;
/// Steps per batch at most.
pub const BATCH_STEPS: u32 = 12;

pub fn core_config() -> Config {
    Config {
        failure_timeout_ns: 200 * MS,
        max_lag_ns: 300 * MS,
        batch_bytes: 512,
        held_outputs: 24,
        held_bytes: 1 << 20,
    }
}
