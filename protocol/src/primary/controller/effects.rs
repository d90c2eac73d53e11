//! What a primary's controller asks for.

use alloc::string::String;

use ftlog::{Generation, Health, Position};

use super::{Asked, Attempt};
use crate::{
    LossReason,
    arbiter::ClaimOutcome,
    primary::{HaltReason, Link, Pace},
};

/// What a controller asks for; to be done in the order given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect<O, W> {
    /// Ask the arbiter for this generation and answer with [`Event::Claimed`](super::Event::Claimed).
    Claim {
        /// What to claim.
        generation: Generation,
        /// Who must hold the generation before it; none before a VM has its first.
        after: Option<String>,
        /// Whoever has the VM is given time to see that it is not his any more.
        yields: bool,
    },
    /// Look at the arbiter and answer with [`Event::Looked`](super::Event::Looked).
    Look {
        /// The last generation that this side holds.
        ours: Generation,
    },
    /// From now on this side is the VM's live side in this generation.
    EnterGeneration {
        /// The generation.
        generation: Generation,
        /// The VM begins to run here.
        begins: bool,
    },
    /// Ask `to` to become the secondary and answer with [`Event::Connected`](super::Event::Connected).
    Connect {
        /// The attempt.
        attempt: Attempt,
        /// The address.
        to: String,
        /// The last generation that this side holds.
        generation: Generation,
        /// For how long after it was last heard somebody may write shared disks, in ns: this side, or whoever it took over
        /// from.
        lease_ns: u64,
    },
    /// Ask `to` whether it would become the secondary and answer with [`Event::Probed`](super::Event::Probed).
    Probe {
        /// The attempt.
        attempt: Attempt,
        /// The address.
        to: String,
        /// The last generation that this side holds.
        generation: Generation,
    },
    /// The connection of this attempt is `link` from now on.
    Adopt {
        /// The attempt.
        attempt: Attempt,
        /// The number of the connection.
        link: Link,
    },
    /// What has come of this attempt is of no use: close it.
    Reject {
        /// The attempt.
        attempt: Attempt,
    },
    /// Make the disks of the peer equal, pause the VM at a sync point, report `SeedStarted`, send its state, report
    /// `SeedSent`.
    StartSeed {
        /// To this peer.
        link: Link,
        /// Of this generation.
        generation: Generation,
    },
    /// Send something to a peer.
    Send {
        /// The connection.
        link: Link,
        /// What.
        message: Message,
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
    /// Close the connection, if it is there still, and stop seeding. A paused VM may run again.
    DropPeer {
        /// The connection.
        link: Link,
        /// Why.
        reason: LossReason,
    },
    /// Let this out.
    Emit {
        /// What.
        output: O,
        /// Of which position.
        position: Position,
        /// How long it has waited here, in ns.
        waited_ns: u64,
    },
    /// Carry this out on its disk.
    Write(W),
    /// What may be written to shared disks.
    Fence(Fence),
    /// Have the guest come to a sync point, so that there is log to be acknowledged.
    Nudge,
    /// Run the vCPU like this.
    SetPace(Pace),
    /// Answer the operator.
    Answer {
        /// Which command.
        asked: Asked,
        /// How.
        answer: Answer,
    },
    /// Tell people.
    Tell(Notice),
    /// Stop the VM for good and emit nothing more.
    Halt(Halt),
}

/// A message to a peer that a controller decides on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Message {
    /// The seed is whole; the log goes to the peer from here on.
    SeedDone,
    /// We are there.
    Heartbeat {
        /// The last position recorded.
        position: Position,
        /// Outputs up to here have left.
        released: Position,
        /// For how long after log was sent its acknowledgement lets us write shared disks, in ns.
        lease_ns: u64,
        /// For how long our vCPU thread has had something to do and has done nothing, in ns.
        stalled_ns: u64,
        /// What ails us.
        health: Health,
    },
    /// The peer is not needed any more.
    Detach,
    /// It cannot be seeded.
    Refuse(String),
}

/// What is done with the fence before shared disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fence {
    /// Nobody else can be the live side: no limit.
    Open,
    /// There is a secondary from now on: nothing passes without its word.
    Close,
    /// Writes pass until then, in ns of this host's clock.
    Extend(u64),
    /// Never again.
    Shut,
}

/// An answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answer {
    /// A secondary is looked for there.
    Seeks(String),
    /// There is no secondary any more.
    Alone {
        /// Where one is looked for from now on.
        peer: Option<String>,
        /// Where `Resume` would look.
        suspended: Option<String>,
        /// The generation of this side.
        generation: Generation,
    },
    /// This side has failed; when its guest has stopped, whether `peer` takes over is the answer.
    Failed {
        /// The secondary.
        peer: String,
        /// The last generation of this side.
        generation: Generation,
    },
    /// It is not done, for this reason.
    Refused(String),
}

/// Why the VM stops here for good.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Halt {
    /// It goes on elsewhere.
    Elsewhere(HaltReason),
    /// The operator asked for a failure.
    OnRequest,
    /// Its guest can reach nobody from here, and could from the secondary.
    Unwell(Health),
}

/// What people are told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Notice {
    /// The arbiter has answered a claim, and that matters.
    Claimed {
        /// What was claimed.
        generation: Generation,
        /// The answer.
        outcome: ClaimOutcome,
    },
    /// The first generation is this side's, and the guest waits until whoever may run the VM has seen that.
    Yields {
        /// The generation.
        generation: Generation,
    },
    /// The arbiter cannot be seen, for this reason.
    ArbiterUnclear(String),
    /// It can.
    ArbiterSeen,
    /// This peer becomes the secondary.
    Paired {
        /// The attempt that reached it.
        attempt: Attempt,
    },
    /// The secondary holds all and follows.
    Protected,
    /// The secondary was let go.
    LetGo,
    /// The secondary is lost, could not be reached, or cannot be seeded.
    Lost(String),
    /// The secondary has diverged so often lately that none is looked for any more, until the operator wants one.
    Distrusted {
        /// Where it was.
        peer: String,
        /// How often.
        times: usize,
    },
    /// The secondary is not well, or well again.
    PeerHealth(Health),
}
