//! Why a peer is lost, and how long the way back took.

use ftlog::Position;
use serde::Serialize;
use thiserror::Error;

/// Why a peer is counted as lost.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Error)]
pub enum LossReason {
    /// The connection ended, between frames or within one: what was received is a whole prefix of the log.
    #[error("the connection was closed")]
    Closed,
    /// Nothing came for longer than the failure timeout.
    #[error("nothing heard for {} ms", silent_ns / 1_000_000)]
    Silent {
        /// How long, in ns.
        silent_ns: u64,
    },
    /// It is heard, and its guest does not move.
    #[error("heard, but it has had work for {} ms and done nothing", stalled_ns / 1_000_000)]
    Stalled {
        /// How long, as it says itself, in ns.
        stalled_ns: u64,
    },
    /// A frame failed its checksum, its sequence number or its decoding: what was received cannot be trusted.
    #[error("the stream is damaged")]
    Damaged,
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// The operator asked for it.
    #[error("detached by the operator")]
    Detached,
    /// This side has no use for a peer now.
    #[error("not wanted now")]
    Unwanted,
}

/// How a peer broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Error)]
pub enum Violation {
    /// Its buffer cannot take even two batches of log.
    #[error("a window of {window_bytes} bytes is too small, {least_bytes} are needed")]
    Window {
        /// What it offered.
        window_bytes: u64,
        /// What is needed.
        least_bytes: u64,
    },
    /// It confirmed a seed that is not the one it was sent.
    #[error("it holds a seed of position {found:?}, sent was {sent:?}")]
    Seed {
        /// The position it was sent, if any.
        sent: Option<Position>,
        /// The position it claims to hold.
        found: Position,
    },
    /// It acknowledged log before it held the seed.
    #[error("it acknowledged {acknowledged} before it held a seed")]
    AckEarly {
        /// What it acknowledged.
        acknowledged: Position,
    },
    /// It acknowledged log it was never sent.
    #[error("it acknowledged {acknowledged}, the last sent was {sent}")]
    AckAhead {
        /// What it acknowledged.
        acknowledged: Position,
        /// The last position sent.
        sent: Position,
    },
    /// It took an acknowledgement back, or executed more than it received.
    #[error(
        "it acknowledged received {received}, executed {executed} after received {before_received}, \
         executed {before_executed}"
    )]
    AckOrder {
        /// Received, as it says now.
        received: Position,
        /// Executed, as it says now.
        executed: Position,
        /// Received, as it said before.
        before_received: Position,
        /// Executed, as it said before.
        before_executed: Position,
    },
    /// It says that it executed more bytes of log than it was sent, or fewer than before.
    #[error("it executed {executed_bytes} bytes of log after {before_bytes}, of {sent_bytes} sent")]
    AckBytes {
        /// Bytes executed, as it says now.
        executed_bytes: u64,
        /// Bytes executed, as it said before.
        before_bytes: u64,
        /// Bytes sent.
        sent_bytes: u64,
    },
    /// It says that it may write shared disks for longer than anybody may.
    #[error("it may write shared disks for {} s without being answered", lease_ns / 1_000_000_000)]
    Lease {
        /// For how long, in ns.
        lease_ns: u64,
    },
}

/// When the parts of a recovery happened, in ns of this host's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Recovery {
    /// When the peer was last heard.
    pub heard_ns: u64,
    /// When it was counted as lost; the difference is the time detection took.
    pub detected_ns: u64,
    /// When all received log was executed (on a primary: at once).
    pub drained_ns: Option<u64>,
    /// When the arbiter gave us the next generation.
    pub won_ns: Option<u64>,
}
