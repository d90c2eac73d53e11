//! What a primary's controller is told.

use alloc::{string::String, vec::Vec};

use ftlog::{Generation, Health, Position};

use crate::{
    arbiter::ClaimOutcome,
    primary::{Link, PeerEvent},
};

/// One attempt to reach a peer. Numbers increase, so that what comes of an attempt that is not wanted any more can be told
/// from what comes of the one that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u32);

/// A command of the operator's, which has to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asked(pub u64);

/// What an operator can want of a primary.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Command {
    /// Look for a secondary there.
    Protect {
        /// Its address.
        to: String,
    },
    /// Fail as a dead host would.
    TestFailover,
    /// Let go of the secondary and seed it again.
    TestRestartSecondary,
    /// Let go of the secondary until `Resume`.
    Suspend,
    /// Look for it again.
    Resume,
    /// Let go of the secondary and forget it.
    TurnOff,
    /// Have another secondary.
    MigrateSecondary {
        /// Its address.
        to: String,
    },
}

/// What the threads around the controller look at before each [`Event::Tick`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Glance {
    /// The vCPU thread has something to do: it runs the guest or answers an exit.
    pub vcpu_busy: bool,
    /// Changes whenever the vCPU thread does something.
    pub vcpu_progress: u64,
    /// Sync points that it has come to.
    pub vcpu_steps: u64,
    /// What ails this side's ways out.
    pub health: Health,
    /// A write to a shared disk was turned back by the fence since the last glance.
    pub write_waits: bool,
    /// Nothing is on its way to the disks.
    pub disks_idle: bool,
}

/// Steps that were recorded, and what the guest said at them, in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stretch<O, W> {
    /// The last position.
    pub through: Position,
    /// The length of the frame's body, in bytes.
    pub bytes: u64,
    /// When the first step was recorded, in ns of this host's clock.
    pub since_ns: u64,
    /// When the guest said it, in ns of this host's clock.
    pub said_ns: u64,
    /// What the guest said, and where.
    pub said: Vec<(Position, Said<O, W>)>,
}

/// Something that must not leave before the log that led to it is safe.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Said<O, W> {
    /// For the world outside.
    Output {
        /// Its length, in bytes.
        bytes: u64,
        /// What.
        output: O,
    },
    /// For a shared disk. Bounded by whoever admits it.
    Write(W),
}

/// What a look at the arbiter has shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Sight {
    /// This side has the newest generation.
    Ours,
    /// Somebody else has a later one.
    Later {
        /// Which.
        generation: Generation,
        /// Who.
        holder: String,
    },
    /// Neither: it cannot be seen, or shows something else.
    Unclear(String),
}

/// What a controller is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event<O, W> {
    /// Time has passed. Due at least every [`heartbeat_ns`](crate::Config::heartbeat_ns).
    Tick(Glance),
    /// The arbiter answered an [`Effect::Claim`](super::Effect::Claim).
    Claimed {
        /// What was claimed.
        generation: Generation,
        /// The answer.
        outcome: ClaimOutcome,
    },
    /// The end of an [`Effect::Look`](super::Effect::Look).
    Looked(Sight),
    /// The end of an [`Effect::Connect`](super::Effect::Connect).
    Connected {
        /// Of which.
        attempt: Attempt,
        /// The window of the peer, in bytes, which has said Welcome; or why there is none.
        result: Result<u64, String>,
    },
    /// The end of an [`Effect::Probe`](super::Effect::Probe).
    Probed {
        /// Of which.
        attempt: Attempt,
        /// It would be the secondary; or why not.
        result: Result<(), String>,
    },
    /// Something about the connection `link`.
    Peer {
        /// The connection.
        link: Link,
        /// What.
        event: PeerEvent,
    },
    /// The peer gives up, for a reason of its own.
    PeerRefuses {
        /// The connection.
        link: Link,
        /// The reason.
        reason: String,
    },
    /// The peer's machine has done something else than this side's. It gives up when it knows more.
    PeerDiverged {
        /// The connection.
        link: Link,
    },
    /// The vCPU thread has recorded something.
    Recorded(Stretch<O, W>),
    /// The seed cannot be made here.
    SeedFailed {
        /// For whom.
        link: Link,
        /// Why.
        reason: String,
    },
    /// The operator wants something.
    Asked {
        /// To be answered under this number.
        asked: Asked,
        /// What.
        command: Command,
    },
    /// The vCPU thread has ended.
    VcpuEnded,
}
