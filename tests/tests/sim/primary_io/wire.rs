//! One connection of a primary, and what its peer says.

use ftlog::{Ack, Diverged, Frame, FrameDecoder, FrameKind, Heartbeat, Message as _, Position};
use protocol::LossReason;
use protocol::primary::controller::Attempt;
use protocol::primary::{Link, PeerEvent};

use crate::network::Conn;

/// A connection, from the attempt on.
pub struct Wire {
    pub attempt: Attempt,
    pub conn: Conn,
    pub decoder: FrameDecoder,
    /// Until it is adopted there is none.
    pub link: Option<Link>,
    /// The attempt has not ended.
    pub greets: bool,
    /// We still read it. What a reader thread had read already may come after the link was dropped.
    pub reading: bool,
}

/// Where the peer diverged, if that is what it says.
pub fn divergence(frame: &Frame) -> Option<Position> {
    let diverged = (frame.kind == FrameKind::Diverged).then(|| Diverged::decode(&frame.body).ok());
    diverged.flatten().map(|diverged| diverged.position)
}

/// What another frame tells the controller.
pub fn peer_event(kind: FrameKind, body: &[u8]) -> PeerEvent {
    let number = || body.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let event = match kind {
        FrameKind::SeedHeld => number().map(|position| PeerEvent::SeedHeld { position: Position(position) }),
        FrameKind::Heartbeat => {
            Heartbeat::decode(body).ok().map(|heartbeat| PeerEvent::Condition(heartbeat.condition))
        }
        FrameKind::Ack => Ack::decode(body).ok().map(|ack| PeerEvent::Acknowledged {
            received: ack.received,
            executed: ack.executed,
            executed_bytes: ack.executed_bytes,
            condition: ack.condition,
        }),
        _ => None,
    };
    event.unwrap_or(PeerEvent::Lost(LossReason::Damaged))
}
