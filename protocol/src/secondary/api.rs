//! What a secondary's core is told, and what it asks for.

use alloc::string::String;
use core::fmt;

use ftlog::{Condition, Generation, Position};
use serde::Serialize;
use thiserror::Error;

use crate::LossReason;
use crate::arbiter::ClaimOutcome;

/// What a secondary's core is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// Time has passed. Due at least every [`heartbeat_ns`](crate::Config::heartbeat_ns).
    Tick,
    /// Something arrived, be it part of a frame.
    Heard,
    /// SeedDone arrived, and the whole state was checked and loaded.
    SeedHeld {
        /// The last position that is part of the state.
        position: Position,
    },
    /// A batch of log is in memory, whole and checked. It may be executed only after [`Effect::Replay`].
    Received {
        /// Its first position.
        first: Position,
        /// Its last position.
        through: Position,
        /// The length of the frame's body, in bytes.
        bytes: u64,
    },
    /// The VM has executed up to a position.
    Executed {
        /// The position.
        through: Position,
        /// Frame bodies finished since the last report, in bytes.
        bytes: u64,
    },
    /// The primary says that it is there.
    Heartbeat {
        /// Its outputs up to here have left.
        released: Position,
        /// How it is.
        condition: Condition,
    },
    /// The primary has claimed the next generation and needs us no more.
    Detached,
    /// The connection is of no more use.
    Lost(LossReason),
    /// The VM did not do here what it did on the primary.
    Diverged {
        /// The first position that differs.
        position: Position,
    },
    /// The VM could not go on here (an exit that failed, a host error).
    Failed {
        /// Where.
        position: Position,
        /// Why.
        reason: String,
    },
    /// What came before the log cannot be used here (no memory for it, a copy of a disk that cannot be written).
    Unusable {
        /// Why.
        reason: String,
    },
    /// The arbiter answered; at most one answer for each [`Effect::Claim`].
    Claimed {
        /// What was claimed.
        generation: Generation,
        /// The answer.
        outcome: ClaimOutcome,
    },
}

/// What a secondary's core asks for; to be done in the order given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Say that we are there.
    SendHeartbeat,
    /// Say that the whole seed is here.
    SendSeedHeld {
        /// Its position.
        position: Position,
    },
    /// Say how far we are.
    SendAck {
        /// The log is here up to this position.
        received: Position,
        /// It is executed up to this one.
        executed: Position,
        /// Frame bodies executed since the seed, in bytes.
        executed_bytes: u64,
    },
    /// The VM may execute up to this position.
    Replay {
        /// The position.
        through: Position,
    },
    /// Close the connection: read and send nothing more on it. The VM goes on with the log it has.
    DropPeer {
        /// Why.
        reason: LossReason,
    },
    /// Ask the arbiter for this generation and answer with [`Event::Claimed`].
    Claim {
        /// What to claim.
        generation: Generation,
    },
    /// This side is the VM now: a [`Primary`](crate::primary::Primary) takes over from here.
    GoLive {
        /// The generation it has won.
        generation: Generation,
        /// The last position of the log, which the VM has executed.
        from: Position,
    },
    /// Throw the VM away, tell the peer why if it is still there, close the connection, emit nothing.
    Discard {
        /// Why.
        reason: DiscardReason,
    },
}

/// Why a secondary can never go live.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Error)]
pub enum DiscardReason {
    /// The primary was lost before the seed was whole.
    #[error("the seed is incomplete: {0}")]
    SeedIncomplete(LossReason),
    /// The log cannot be trusted.
    #[error("the log is broken: {0}")]
    LogBroken(LossReason),
    /// A batch does not begin where the last one ended.
    #[error("the log has a gap: expected {expected}, found {found} to {through}")]
    LogGap {
        /// The position that should come next.
        expected: Position,
        /// The first position that came.
        found: Position,
        /// The last position that came.
        through: Position,
    },
    /// The primary sent more than our buffer holds.
    #[error("{unexecuted_bytes} bytes of log wait, the window is {window_bytes}")]
    WindowExceeded {
        /// Log not executed, in bytes.
        unexecuted_bytes: u64,
        /// What was agreed on.
        window_bytes: u64,
    },
    /// The primary released output without our acknowledgement.
    #[error("the primary released outputs up to {released}, we hold the log up to {received}")]
    ReleasedAhead {
        /// What it released.
        released: Position,
        /// What we hold.
        received: Position,
    },
    /// The primary's messages do not fit the phase (a second seed, log before the seed).
    #[error("a message that does not belong here, in phase {phase}")]
    OutOfPlace {
        /// The phase.
        phase: Phase,
    },
    /// The VM did something else than the primary's.
    #[error("the VM diverged at {position}")]
    Diverged {
        /// Where.
        position: Position,
    },
    /// The VM could not go on.
    #[error("the VM failed at {position}: {reason}")]
    Failed {
        /// Where.
        position: Position,
        /// Why.
        reason: String,
    },
    /// What came before the log cannot be used here.
    #[error("the seed cannot be used: {reason}")]
    Unusable {
        /// Why.
        reason: String,
    },
    /// The VM executed what no log told it.
    #[error("the VM ran to {executed}, the log ends at {received}")]
    RanAhead {
        /// Where it is.
        executed: Position,
        /// What we hold.
        received: Position,
    },
    /// The primary goes on alone.
    #[error("detached by the primary")]
    Detached,
    /// The VM goes on elsewhere.
    #[error("generation {generation} of the VM belongs to {holder}")]
    ClaimLost {
        /// The generation that was claimed.
        generation: Generation,
        /// Who has it.
        holder: String,
    },
}

/// Where a secondary is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Receives the seed.
    Seeding,
    /// Receives and executes the log.
    Following,
    /// Lost the primary; executes the rest of the log.
    Draining,
    /// Has executed it all; waits for the arbiter.
    Arbitrating,
    /// Is the VM.
    Live,
    /// Can never be the VM.
    Discarded,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seeding => "seeding",
            Self::Following => "following",
            Self::Draining => "draining",
            Self::Arbitrating => "arbitrating",
            Self::Live => "live",
            Self::Discarded => "discarded",
        })
    }
}
