//! What a follower is told, and what it has done.

use alloc::{boxed::Box, string::String, vec::Vec};

use ftlog::{Delta, Diverged, Frame, FrameKind, Generation, Health, Position, RegisterFile, StepsFrame};

use crate::arbiter::ClaimOutcome;
use crate::secondary::DiscardReason;
use crate::{LossReason, Recovery};

/// What is seen of a thread that has work.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Work {
    /// It has something to do.
    pub busy: bool,
    /// Anything that changes while it does it.
    pub done: u64,
}

/// What is seen of this side.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sample {
    /// The thread that executes.
    pub vcpu: Work,
    /// Whoever makes the copies, busy while so many blocks wait that the primary is not heard, or the last ones.
    pub copies: Work,
    /// What ails its ways out.
    pub health: Health,
}

/// What a follower is told.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time has passed. Due at least every [`heartbeat_ns`](crate::Config::heartbeat_ns).
    Tick,
    /// How this side is. Due as often, or more often than that.
    Seen(Sample),
    /// Bytes arrived, be they part of a frame.
    Bytes,
    /// A frame arrived, whole and checked.
    Frame(Frame),
    /// The connection is of no more use; also when a frame that was handed on does not decode.
    Lost(LossReason),
    /// All blocks of the copies are safe.
    Copied,
    /// The machine is made.
    Loaded {
        /// The last position that is part of it.
        position: Position,
    },
    /// A batch is executed.
    Executed {
        /// Its last position.
        through: Position,
        /// The length of its frames' bodies, in bytes.
        bytes: u64,
        /// Virtual time there, in ns.
        time_ns: u64,
    },
    /// The primary was told what memory holds.
    Told,
    /// The guest has switched itself off; told before the batch counts as executed.
    PoweredOff {
        /// Where.
        position: Position,
    },
    /// The machine did something else than the primary's, and stands.
    Diverged(Box<Diverged>),
    /// The machine cannot go on.
    Failed {
        /// Where.
        position: Position,
        /// Why.
        reason: String,
    },
    /// The seed or the copies of the disks cannot be used here.
    Unusable {
        /// Why.
        reason: String,
    },
    /// The arbiter answered.
    Claimed {
        /// What was claimed.
        generation: Generation,
        /// The answer.
        outcome: ClaimOutcome,
    },
}

/// What a follower has done; in the order given.
#[derive(Debug, Clone)]
pub enum Action {
    /// Send a frame to the primary.
    Send {
        /// What it is.
        kind: FrameKind,
        /// Its body.
        body: Vec<u8>,
    },
    /// A frame of the seed, for whoever puts it together.
    Seed(Frame),
    /// A frame about the copies of the disks, for whoever makes them.
    Copy(Frame),
    /// No more blocks come: once all are safe, [`Input::Copied`].
    FinishCopies,
    /// Make the machine of the seed: then [`Input::Loaded`].
    Load,
    /// This side follows from here on.
    Following {
        /// The last position of the seed.
        position: Position,
    },
    /// Execute these steps: then [`Input::Executed`].
    Execute {
        /// The steps.
        batch: StepsFrame,
        /// What leads to the first of them, if that is a forced position.
        delta: Option<Delta>,
        /// The length of the frames' bodies, in bytes.
        bytes: u64,
    },
    /// Tell the primary what memory holds when all before this is executed: then [`Input::Told`].
    TellPages {
        /// The key of the digests.
        key: u64,
    },
    /// The primary's outputs up to here have left: nobody will have to say them again.
    Released {
        /// The position.
        through: Position,
    },
    /// The primary gives up, in its own words.
    GivenUp {
        /// Why.
        reason: String,
    },
    /// A divergence can be shown now.
    Explained {
        /// The primary's registers there, if it still knew them.
        registers: Option<Box<RegisterFile>>,
    },
    /// Close the connection.
    DropPeer {
        /// Why.
        reason: LossReason,
    },
    /// Ask the arbiter: then [`Input::Claimed`].
    Claim {
        /// What to claim.
        generation: Generation,
    },
    /// This side is the VM now. Nothing follows.
    GoLive {
        /// The generation it has won.
        generation: Generation,
        /// The last position of the log, which the machine has executed.
        from: Position,
        /// When the parts of the takeover happened.
        recovery: Option<Recovery>,
        /// Why the primary was counted as lost, for the operator.
        loss: String,
        /// For how long the primary may write shared disks after it was last answered, in ns.
        lease_ns: u64,
    },
    /// Throw the VM away, at once whatever waits to be executed, and close the connection once the primary has been told
    /// why. Nothing follows.
    Discard {
        /// Why.
        reason: DiscardReason,
    },
    /// The guest has switched itself off and all it said has left. Nothing follows.
    End,
}
