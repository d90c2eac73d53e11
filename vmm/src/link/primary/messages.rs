//! What the link thread is told.

use devices::Output;
use ftlog::RegisterFile;
use ftlog::{FrameKind, Generation, Position, Welcome};
use protocol::{arbiter::ClaimOutcome, primary::Link};
use replay::Batch;

use crate::{
    arbiter::{ArbiterError, Latest},
    control::Pending,
    link::connection::Connection,
};

/// What the vCPU thread says. It is not heard while the connection takes nothing more, and then has to wait.
pub enum FromVcpu {
    /// It recorded something, or the guest said something.
    Recorded(Stretch),
    /// It is paused for this seed; its position.
    SeedStarted(Link, Position),
    /// A frame of the seed.
    SeedFrame(Link, FrameKind, Vec<u8>),
    /// The seed came to nothing, for this reason.
    SeedFailed(Link, String),
    /// All of the seed is sent but its last frame.
    SeedSent(Link),
    /// It has ended.
    Ended,
}

/// What everybody else says. It is always heard.
pub enum Message {
    /// The arbiter answered.
    Claimed(Generation, ClaimOutcome),
    /// What the arbiter showed to one who looked while this generation was the last that this side held.
    Looked(Generation, Result<Option<Latest>, ArbiterError>),
    /// An attempt to reach the peer ended.
    Connected(Box<anyhow::Result<(Connection, Welcome)>>),
    /// The operator wants something.
    Command(Pending),
}

/// Steps of the execution, and what the guest said at them.
pub struct Stretch {
    /// The steps.
    pub batch: Batch,
    /// The registers at each, to explain a divergence that the secondary reports.
    pub registers: Vec<RegisterFile>,
    /// What the guest said, in order.
    pub outputs: Vec<(Position, Output)>,
    /// Virtual time at the last step, ns.
    pub time_ns: u64,
    /// When the guest last spoke, ns of the host's monotonic clock.
    pub handed_over_ns: u64,
}
