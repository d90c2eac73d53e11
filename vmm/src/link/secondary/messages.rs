//! What the threads of a secondary tell each other, and what comes of a session.

use std::time::Duration;

use devices::Off;
use ftlog::{Delta, Generation, Position, StepsFrame};
use machine::{Machine, memory::Memory, snapshot::Seed};
use protocol::{Recovery, arbiter::ClaimOutcome};
use replay::Divergence;

use crate::identity::VmIdentity;

/// How often a thread that waits for another looks at the stop switch.
pub const GLANCE: Duration = Duration::from_millis(50);

/// What the link thread wants done.
pub enum Task {
    /// Make the machine.
    Load(Box<Seed>),
    /// Execute these steps.
    Execute {
        /// The steps.
        batch: StepsFrame,
        /// What leads to the first of them, if that is a forced position.
        delta: Option<Delta>,
        /// The frames' bodies, bytes.
        bytes: u64,
    },
    /// All that came before this is executed: memory is to be looked at, for digests with this key.
    ShowMemory(u64),
    /// Say so when you come here: the link thread waits for what came before this to be executed.
    CatchUp,
    /// Everything is executed and the arbiter has decided: be the VM.
    GoLive(GoLive),
    /// Throw the machine away.
    Discard(String),
    /// The guest has switched itself off, and all it said has left.
    End,
}

/// How this side has come to be the VM.
pub struct GoLive {
    /// The generation won.
    pub generation: Generation,
    /// The last position of the log.
    pub from: Position,
    /// When the parts of the takeover happened.
    pub recovery: Option<Recovery>,
    /// Why the primary was counted as lost.
    pub loss: String,
    /// For how long the primary may write shared disks after it was last answered, ns.
    pub lease_ns: u64,
}

/// What the link thread is told.
pub enum Report {
    /// All blocks of the copies are safe.
    Copied,
    /// The copies cannot be made, or the machine.
    Unusable(String),
    /// The machine is made, at this position.
    Loaded(Position),
    /// A batch is executed.
    Executed {
        /// Its last position.
        through: Position,
        /// Its frames' bodies, bytes.
        bytes: u64,
        /// Virtual time there, ns.
        time_ns: u64,
    },
    /// What is to be told with digests of this key.
    Shown(Memory, u64),
    /// Everything before [`Task::CatchUp`] is executed.
    CaughtUp,
    /// The guest has switched itself off here.
    PoweredOff(Position),
    /// The machine did something else than the primary's.
    Diverged(Divergence),
    /// The machine cannot go on.
    Failed {
        /// Where.
        position: Position,
        /// Why.
        reason: String,
    },
    /// Blocks were written to a disk, so that others may come.
    Room,
    /// The arbiter answered.
    Claimed(Generation, ClaimOutcome),
    /// The vCPU thread is done with this session.
    Ended,
}

/// Why a secondary stopped being one.
pub enum Served {
    /// It is the VM now.
    TookOver {
        /// The machine, between a sync point and the next stretch.
        machine: Box<Machine>,
        /// The VM.
        identity: VmIdentity,
        /// The generation it has won.
        generation: Generation,
        /// When it went live, ns of the host's clock.
        live_ns: u64,
        /// From when on it writes shared disks, likewise.
        writes_from_ns: u64,
    },
    /// The guest ended the machine.
    PoweredOff(Off),
    /// The stop switch was thrown.
    Stopped,
}

/// How a session ended.
pub enum SessionEnd {
    /// This side is no secondary any more.
    Served(Served),
    /// It can follow another primary.
    Discarded(String),
}
