//! The two messages of fixed layout.

use zerocopy::little_endian::U64;
use zerocopy::transmute;

use super::{Ack, Condition, Health, Heartbeat, MessageError};
use crate::frame::FrameKind;
use crate::position::Position;

impl Ack {
    /// The length of its body, in bytes.
    pub const LEN: usize = 48;

    /// The body of an `Ack` frame: its fields in order, as u64.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let Condition { stalled_ns, health } = self.condition;
        let fields = [
            self.received.0,
            self.executed.0,
            self.executed_time_ns,
            self.executed_bytes,
            stalled_ns,
            health.0,
        ];
        transmute!(fields.map(U64::new))
    }

    /// The message in the body of an `Ack` frame.
    ///
    /// # Errors
    /// [`MessageError::Length`].
    pub fn decode(body: &[u8]) -> Result<Self, MessageError> {
        let fields: [U64; 6] = transmute!(exactly::<{ Self::LEN }>(FrameKind::Ack, body)?);
        let [received, executed, executed_time_ns, executed_bytes, stalled_ns, health] = fields.map(U64::get);
        Ok(Self {
            received: Position(received),
            executed: Position(executed),
            executed_time_ns,
            executed_bytes,
            condition: Condition { stalled_ns, health: Health(health) },
        })
    }
}

impl Heartbeat {
    /// The length of its body, in bytes.
    pub const LEN: usize = 48;

    /// The body of a `Heartbeat` frame: its fields in order, as u64.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let Condition { stalled_ns, health } = self.condition;
        let fields = [self.position.0, self.released.0, self.time_ns, self.lease_ns, stalled_ns, health.0];
        transmute!(fields.map(U64::new))
    }

    /// The message in the body of a `Heartbeat` frame.
    ///
    /// # Errors
    /// [`MessageError::Length`].
    pub fn decode(body: &[u8]) -> Result<Self, MessageError> {
        let fields: [U64; 6] = transmute!(exactly::<{ Self::LEN }>(FrameKind::Heartbeat, body)?);
        let [position, released, time_ns, lease_ns, stalled_ns, health] = fields.map(U64::get);
        Ok(Self {
            position: Position(position),
            released: Position(released),
            time_ns,
            lease_ns,
            condition: Condition { stalled_ns, health: Health(health) },
        })
    }
}

fn exactly<const LEN: usize>(kind: FrameKind, body: &[u8]) -> Result<[u8; LEN], MessageError> {
    body.try_into().map_err(|_| MessageError::Length { kind, len: body.len(), expected: LEN })
}
