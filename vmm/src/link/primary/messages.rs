//! What the link thread is told.

use std::time::Duration;

use devices::Output;
use ftlog::{Delta, FrameKind, Generation, Position, RegisterFile, Welcome};
use protocol::{
    arbiter::ClaimOutcome,
    primary::{
        Link,
        controller::{Attempt, Sight},
    },
};
use replay::Batch;

use crate::{
    control::{Pending, StopReport},
    link::connection::Connection,
};

/// What the vCPU thread says.
pub enum FromVcpu {
    /// It recorded something, or the guest said something.
    Recorded(Stretch),
    /// What does the secondary's memory hold where all that was recorded is executed?
    AskPages,
    /// It stands for the rest of this seed; its position.
    SeedStarted(Link, Position),
    /// A frame of the seed. It is not heard while the connection takes nothing more.
    SeedFrame(Link, FrameKind, Vec<u8>),
    /// The seed came to nothing, for this reason.
    SeedFailed(Link, String),
    /// All of the seed is sent but its last frame, and the guest runs on.
    SeedSent(Link, StopReport),
    /// It has ended.
    Ended,
}

/// What everybody else says. It is always heard.
pub enum Message {
    /// The arbiter answered.
    Claimed(Generation, ClaimOutcome),
    /// What the arbiter showed.
    Looked(Sight),
    /// An attempt to reach the peer ended.
    Connected(Attempt, anyhow::Result<Box<(Connection, Welcome)>>),
    /// A host has said whether it would be the secondary.
    Probed(Attempt, anyhow::Result<()>),
    /// The operator wants something.
    Command(Pending),
}

/// How much the vCPU thread may have under way to the link thread, bytes: beyond it, it waits.
pub const UNDER_WAY: u64 = 4 << 20;
/// What an output counts at least, bytes: the gate has room for a number of them.
const LEAST_OUTPUT: usize = 2 << 10;

/// What leads to a forced position.
pub struct Taken {
    pub delta: Delta,
    /// For how long the guest stood for it, ns.
    pub took_ns: u64,
    /// For how long something had waited for the guest by then; it may be stopped for a seed too.
    pub waited: Option<Duration>,
}

/// Steps of the execution, and what the guest said at them.
pub struct Stretch {
    /// The steps.
    pub batch: Batch,
    /// What leads to the first of them, if that is a forced position.
    pub delta: Option<Taken>,
    /// The registers at each, to explain a divergence that the secondary reports.
    pub registers: Vec<RegisterFile>,
    /// What the guest said, in order.
    pub outputs: Vec<(Position, Output)>,
    /// Virtual time at the last step, ns.
    pub time_ns: u64,
    /// When the first step was recorded, ns of the host's clock.
    pub since_ns: u64,
    /// When the guest last spoke, ns of the host's clock.
    pub handed_over_ns: u64,
}

impl Stretch {
    /// The bytes that it holds, roughly: what counts is that none that is large is overlooked, and that many small ones are
    /// not either, for which the gate has to have room.
    pub fn bytes(&self) -> u64 {
        let said = |(_, output): &(Position, Output)| match output {
            Output::Net { frame, .. } => frame.len().max(LEAST_OUTPUT),
            Output::Console(bytes) => bytes.len().max(LEAST_OUTPUT),
            // The data of disk requests is bounded elsewhere, and the others have none.
            Output::Disk(_) | Output::PowerOff(_) | Output::Reset(_) => 0,
        };
        let outputs: usize = self.outputs.iter().map(said).sum();
        let registers = self.registers.len() * size_of::<RegisterFile>();
        let delta = self.delta.as_ref().map_or(0, |taken| taken.delta.bytes());
        delta + (self.batch.body.len() + outputs + registers) as u64
    }
}

#[cfg(test)]
mod tests {
    use protocol::Config;
    use replay::Batch;

    use super::*;

    /// Of one sync point: what the guest may have put into its queues and its console.
    const AT_ONCE: u64 = 1024;

    #[test]
    fn what_is_under_way_when_the_guest_is_stopped_still_finds_room_in_the_gate() {
        let frame = Output::Net { slot: 0, frame: vec![0; 60] };
        let batch = Batch { last: Position(1), steps: 1, body: vec![0; 100] };
        let stretch = Stretch {
            batch,
            delta: None,
            registers: Vec::new(),
            outputs: vec![(Position(1), frame)],
            time_ns: 0,
            since_ns: 0,
            handed_over_ns: 0,
        };
        // The gate has twice the room of where the guest is stopped.
        assert!(UNDER_WAY / stretch.bytes() + AT_ONCE <= Config::default().held_outputs);
    }
}
