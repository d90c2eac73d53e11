//! What the role asks for, as actions of the follower.

use alloc::{string::ToString, vec::Vec};

use ftlog::{Ack, FrameKind, Heartbeat, Position};

use super::{Action, Effect, Event, Follower};

impl Follower {
    /// Tells the role and turns what it asks for into actions.
    pub(super) fn tell(&mut self, event: Event, now_ns: u64, actions: &mut Vec<Action>) {
        if self.over {
            return;
        }
        let mut effects = Vec::new();
        self.core.handle(event, now_ns, &mut effects);
        effects.into_iter().for_each(|effect| self.translate(effect, actions));
    }

    fn translate(&mut self, effect: Effect, actions: &mut Vec<Action>) {
        let condition = self.condition;
        match effect {
            Effect::SendHeartbeat => {
                let (position, time_ns) = (self.core.executed_through(), self.executed_time_ns);
                let beat = Heartbeat { position, released: Position(0), time_ns, lease_ns: 0, condition };
                actions.push(Action::Send { kind: FrameKind::Heartbeat, body: beat.encode().to_vec() });
            }
            Effect::SendSeedHeld { position } => {
                actions.push(Action::Following { position });
                let body = position.0.to_le_bytes().to_vec();
                actions.push(Action::Send { kind: FrameKind::SeedHeld, body });
            }
            Effect::SendAck { received, executed, executed_bytes } => {
                let executed_time_ns = self.executed_time_ns;
                let ack = Ack { received, executed, executed_time_ns, executed_bytes, condition };
                actions.push(Action::Send { kind: FrameKind::Ack, body: ack.encode().to_vec() });
            }
            Effect::Replay { through } => actions.extend(self.backlog.release(through)),
            Effect::DropPeer { reason } => {
                self.loss = Some(reason.clone());
                actions.push(Action::DropPeer { reason });
            }
            Effect::Claim { generation } => actions.push(Action::Claim { generation }),
            Effect::GoLive { generation, from } => {
                self.over = true;
                let loss = self.loss.as_ref().map(ToString::to_string).unwrap_or_default();
                let (recovery, lease_ns) = (self.core.recovery(), self.lease_ns);
                actions.push(Action::GoLive { generation, from, recovery, loss, lease_ns });
            }
            Effect::Discard { reason } => {
                self.over = true;
                actions.push(Action::Discard { reason });
            }
        }
    }
}
