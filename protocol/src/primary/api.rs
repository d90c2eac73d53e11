//! What a primary's core is told, and what it asks for.

use alloc::string::String;
use core::fmt;

use ftlog::{Condition, Generation, Position};
use serde::Serialize;
use thiserror::Error;

use super::Pace;
use crate::LossReason;
use crate::arbiter::ClaimOutcome;

/// One connection to a peer. Numbers must increase from connection to connection, so that what is still queued from
/// a connection that is gone can be told from news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link(pub u32);

/// What a primary's core is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// Time has passed. Due at least every [`heartbeat_ns`](crate::Config::heartbeat_ns).
    Tick,
    /// The arbiter answered; exactly one answer for each [`Effect::Claim`].
    Claimed {
        /// What was claimed.
        generation: Generation,
        /// The answer.
        outcome: ClaimOutcome,
    },
    /// The arbiter shows that this generation is somebody else's.
    ArbiterShows {
        /// The generation.
        generation: Generation,
        /// Who has it.
        holder: String,
    },
    /// Something about the connection `link`.
    Peer {
        /// The connection.
        link: Link,
        /// What.
        event: PeerEvent,
    },
    /// A batch of log was recorded. Told before its outputs are put into the gate.
    Recorded(Batch),
    /// What the gate holds now; told whenever outputs went in or out.
    Held {
        /// Number of outputs.
        outputs: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The operator wants the VM without its secondary: for suspend, power-off, or to seed a new one.
    Detach,
}

/// A batch of log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Batch {
    /// Its last position.
    pub through: Position,
    /// The length of the frame's body, in bytes.
    pub bytes: u64,
    /// When its first step was recorded, in ns of this host's clock.
    pub since_ns: u64,
}

/// What can happen on a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PeerEvent {
    /// The handshake is done: the peer said Welcome.
    Ready {
        /// The log it can hold unexecuted, in bytes.
        window_bytes: u64,
    },
    /// Something arrived, be it part of a frame.
    Heard,
    /// The peer says how it is.
    Condition(Condition),
    /// The VM is paused at this position and its state is being sent.
    SeedStarted {
        /// The last position that is part of the state.
        position: Position,
    },
    /// All of the seed but its final frame has been handed to the channel. The VM is still paused.
    SeedSent,
    /// The peer says that it holds the whole seed.
    SeedHeld {
        /// Of this position.
        position: Position,
    },
    /// The peer says how far it is.
    Acknowledged {
        /// It holds the log up to here.
        received: Position,
        /// It has executed up to here.
        executed: Position,
        /// The log it has executed since the seed, in bytes of frame bodies.
        executed_bytes: u64,
        /// How it is.
        condition: Condition,
    },
    /// The connection is of no more use: closed, damaged, or the peer broke the protocol.
    Lost(LossReason),
}

/// What a primary's core asks for; to be done in the order given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Ask the arbiter for this generation and answer with [`Event::Claimed`].
    Claim {
        /// What to claim.
        generation: Generation,
    },
    /// From now on this side is the VM's live side in this generation.
    EnterGeneration {
        /// The generation.
        generation: Generation,
    },
    /// [Open](crate::commit::Gate::open) the gate: what it holds leaves, and nothing is held any more.
    OpenGate,
    /// [Close](crate::commit::Gate::close) the gate: outputs of later positions wait.
    CloseGate {
        /// Outputs up to here may leave.
        after: Position,
    },
    /// [Release](crate::commit::Gate::release) the outputs up to this position.
    Release {
        /// The last position whose outputs may leave.
        through: Position,
    },
    /// Pause the VM at a sync point, report `SeedStarted`, send its state, report `SeedSent`.
    StartSeed {
        /// To this peer.
        link: Link,
    },
    /// Send the final frame of the seed; the VM may run again, its log goes to the peer from here on.
    SendSeedDone {
        /// To this peer.
        link: Link,
    },
    /// Send the batches up to this position that were recorded and not sent.
    SendLog {
        /// To this peer.
        link: Link,
        /// The last position of the last of them.
        through: Position,
    },
    /// The batches up to this position are for nobody.
    ForgetLog {
        /// The last position of the last of them.
        through: Position,
    },
    /// Say that we are there, how far we are and what has been released.
    SendHeartbeat {
        /// To this peer.
        link: Link,
    },
    /// Tell the peer that it is not needed any more.
    SendDetach {
        /// This peer.
        link: Link,
    },
    /// Close the connection and stop seeding. A paused VM may run again; a new peer may be looked for.
    DropPeer {
        /// The connection.
        link: Link,
        /// Why.
        reason: LossReason,
    },
    /// Run the vCPU like this.
    SetPace(Pace),
    /// The operator's Detach is done: this side has no secondary.
    Detached,
    /// Stop the VM for good and emit nothing more; what the gate holds is thrown away.
    Halt {
        /// Why.
        reason: HaltReason,
    },
}

/// Why a primary halted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Error)]
pub enum HaltReason {
    /// The VM goes on elsewhere.
    #[error("generation {generation} of the VM belongs to {holder}")]
    ClaimLost {
        /// The generation that was claimed.
        generation: Generation,
        /// Who has it.
        holder: String,
    },
    /// The VM was started elsewhere although it ran here.
    #[error("{holder} has started the VM as generation {generation}, while this side had it as {ours}")]
    Overtaken {
        /// The generation that the arbiter shows.
        generation: Generation,
        /// Who has it.
        holder: String,
        /// The last generation that this side held.
        ours: Generation,
    },
}

/// Where a primary is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Claims the first generation; the VM has not run.
    Starting,
    /// Holds its first generation, and gives whoever may still run the VM the time to see that; the VM has not run.
    Yielding,
    /// Runs without a secondary, the gate open.
    Unprotected,
    /// A secondary is being seeded.
    Seeding,
    /// A secondary holds the log; outputs wait for it.
    Protected,
    /// Still protected, but the operator wants the secondary gone and the arbiter has not answered.
    Detaching,
    /// Lost its secondary and waits for the arbiter; nothing leaves.
    Arbitrating,
    /// The VM goes on elsewhere.
    Halted,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Yielding => "yielding",
            Self::Unprotected => "unprotected",
            Self::Seeding => "seeding",
            Self::Protected => "protected",
            Self::Detaching => "detaching",
            Self::Arbitrating => "arbitrating",
            Self::Halted => "halted",
        })
    }
}
