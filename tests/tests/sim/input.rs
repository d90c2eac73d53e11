//! What can happen to a process.

use ftlog::Generation;
use protocol::arbiter::ClaimOutcome;
use protocol::primary::Link;
use protocol::primary::controller::{Attempt, Command};

use crate::network::{Arrival, Conn};

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
        holder: String,
    },
    /// The VM gets to run.
    Run,
    /// The link thread looks for what the vCPU thread has told it.
    Letters,
    /// The process is asked to end (SIGTERM).
    Stop,
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
