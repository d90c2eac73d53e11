//! The connection to the secondary: what it says means this to the controller, and how a divergence is explained.

use std::collections::VecDeque;

use anyhow::Context;
use ftlog::{Ack, Diverged, Frame, FrameKind, Heartbeat, Message, Position, Refuse, RegisterFile, Registers};
use protocol::{
    LossReason,
    primary::{Link, PeerEvent},
};

use replay::trace::{self, Stage};

use crate::link::connection::Connection;

/// Registers kept to explain a divergence: a second or so of a busy guest.
const KEPT_REGISTERS: usize = 1 << 15;

/// The connection of one session.
pub struct Wire {
    /// Its number.
    pub link: Link,
    /// Its socket.
    pub connection: Connection,
    /// The seed is complete, the log follows.
    pub streaming: bool,
    /// It was sent a last word, which has to arrive.
    pub farewell: bool,
}

/// The registers at the latest sync points.
pub struct RegisterRing {
    last: Position,
    ring: VecDeque<RegisterFile>,
}

impl RegisterRing {
    /// An empty ring.
    pub fn new() -> Self {
        Self { last: Position(0), ring: VecDeque::new() }
    }

    /// Adds those of consecutive positions that end at `last`.
    pub fn extend(&mut self, last: Position, registers: Vec<RegisterFile>) {
        self.ring.extend(registers);
        self.ring.drain(..self.ring.len().saturating_sub(KEPT_REGISTERS));
        self.last = last;
    }

    /// Those at `position`, if they are still here.
    pub fn at(&self, position: Position) -> Option<&RegisterFile> {
        let back = usize::try_from(self.last.0.checked_sub(position.0)?).ok()?;
        self.ring.get(self.ring.len().checked_sub(back + 1)?)
    }
}

/// What a frame of the secondary means.
pub fn understand(frame: &Frame) -> Result<PeerEvent, LossReason> {
    let damaged = |_| LossReason::Damaged;
    Ok(match frame.kind {
        FrameKind::Ack => {
            let ack = Ack::decode(&frame.body).map_err(damaged)?;
            let Ack { received, executed, executed_bytes, executed_time_ns: _, condition } = ack;
            trace::mark(Stage::Heard, received);
            PeerEvent::Acknowledged { received, executed, executed_bytes, condition }
        }
        FrameKind::SeedHeld => PeerEvent::SeedHeld { position: decode_position(&frame.body)? },
        FrameKind::Heartbeat => {
            PeerEvent::Condition(Heartbeat::decode(&frame.body).map_err(damaged)?.condition)
        }
        _ => return Err(LossReason::Damaged),
    })
}

fn decode_position(body: &[u8]) -> Result<Position, LossReason> {
    let bytes = body.try_into().map_err(|_| LossReason::Damaged)?;
    Ok(Position(u64::from_le_bytes(bytes)))
}

/// Explains a divergence with both sides' registers, and tells the secondary ours.
pub fn answer_divergence(wire: &mut Wire, frame: &Frame, ring: &RegisterRing) -> anyhow::Result<String> {
    let diverged = Diverged::decode(&frame.body).context("the secondary diverged and cannot say where")?;
    let ours = ring.at(diverged.position);
    let answer = Registers { position: diverged.position, registers: ours.copied() };
    wire.connection.send(FrameKind::Registers, &answer.encode()?);
    let registers = match ours {
        Some(ours) => ftlog::describe_both(ours, &diverged.registers),
        None => ftlog::describe(&diverged.registers),
    };
    Ok(format!("the secondary diverged at {}: {}\n{registers}", diverged.position, diverged.text))
}

/// Why the secondary gives up, in its own words.
pub fn refusal(frame: &Frame) -> String {
    Refuse::decode(&frame.body).map_or_else(|error| error.to_string(), |refuse| refuse.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: FrameKind, body: &[u8]) -> Frame {
        Frame { kind, sequence: 0, offset: 0, body: body.to_vec() }
    }

    #[test]
    fn the_ring_knows_the_latest_positions_only() {
        let mut ring = RegisterRing::new();
        assert_eq!(ring.at(Position(0)), None);
        let registers = |n: u64| [n; ftlog::REGISTER_COUNT];
        ring.extend(Position(12), vec![registers(11), registers(12)]);
        ring.extend(Position(13), vec![registers(13)]);
        assert_eq!(ring.at(Position(11)), Some(&registers(11)));
        assert_eq!(ring.at(Position(13)), Some(&registers(13)));
        assert_eq!(ring.at(Position(10)), None);
        assert_eq!(ring.at(Position(14)), None);

        let many = KEPT_REGISTERS as u64;
        ring.extend(Position(13 + many), (14..14 + many).map(registers).collect());
        assert_eq!(ring.at(Position(13)), None, "bounded");
        assert_eq!(ring.at(Position(14)), Some(&registers(14)));
    }

    #[test]
    fn what_a_secondary_has_no_business_to_send_is_damage() {
        for kind in [FrameKind::Steps, FrameKind::Begin, FrameKind::Welcome, FrameKind::End] {
            assert_eq!(understand(&frame(kind, &[])), Err(LossReason::Damaged), "{kind:?}");
        }
        assert_eq!(understand(&frame(FrameKind::Ack, &[1, 2, 3])), Err(LossReason::Damaged));
        assert_eq!(understand(&frame(FrameKind::SeedHeld, &[0; 7])), Err(LossReason::Damaged));
    }
}
