//! What the role asks for, as effects of the controller.

use alloc::vec::Vec;

use ftlog::Generation;

use super::{Controller, Effect, Halt, Message, Notice, news::News};
use crate::{
    arbiter::ClaimOutcome,
    primary::{Effect as RoleEffect, Event as RoleEvent, Link, Phase},
};

impl<O, W> Controller<O, W> {
    /// Tells the role and turns what it asks for into effects.
    pub(super) fn tell_role(&mut self, event: RoleEvent, effects: &mut Vec<Effect<O, W>>) {
        if self.halted {
            return;
        }
        let mut asked = Vec::new();
        self.role.handle(event, self.now_ns, &mut asked);
        self.translate(asked, effects);
    }

    pub(super) fn translate(&mut self, asked: Vec<RoleEffect>, effects: &mut Vec<Effect<O, W>>) {
        for effect in asked {
            self.translate_one(effect, effects);
        }
    }

    pub(super) fn translate_one(&mut self, effect: RoleEffect, effects: &mut Vec<Effect<O, W>>) {
        match effect {
            RoleEffect::Claim { generation } => {
                let (after, yields) = (self.predecessor.clone(), self.role.yields());
                effects.push(Effect::Claim { generation, after, yields });
            }
            RoleEffect::EnterGeneration { generation } => {
                let begins = self.predecessor.as_ref() != Some(&self.holder);
                self.predecessor = Some(self.holder.clone());
                effects.push(Effect::EnterGeneration { generation, begins });
            }
            RoleEffect::OpenGate => self.open_gates(effects),
            RoleEffect::CloseGate { after } => self.close_gates(after, effects),
            RoleEffect::Release { through } => self.release(through, effects),
            RoleEffect::StartSeed { link } => {
                effects.push(Effect::StartSeed { link, generation: self.role.generation() });
            }
            RoleEffect::SendSeedDone { link } => {
                effects.push(Effect::Send { link, message: Message::SeedDone });
            }
            RoleEffect::SendLog { link, through } => {
                self.lease.sent(through, self.now_ns);
                effects.push(Effect::SendLog { link, through });
            }
            RoleEffect::ForgetLog { through } => effects.push(Effect::ForgetLog { through }),
            RoleEffect::SendHeartbeat { link } => self.beat(link, effects),
            RoleEffect::SendDetach { link } => effects.push(Effect::Send { link, message: Message::Detach }),
            RoleEffect::DropPeer { link, reason } => self.dropped(link, reason, effects),
            RoleEffect::SetPace(pace) => effects.push(Effect::SetPace(pace)),
            RoleEffect::Detached => {
                effects.push(Effect::Tell(Notice::LetGo));
                self.let_go_ended(effects);
            }
            RoleEffect::Halt { reason } => self.halt(Halt::Elsewhere(reason), effects),
        }
    }

    /// Log is a sign of life too, and the role asks for no heartbeats beside it. What only a heartbeat says is said all the
    /// same, as often.
    pub(super) fn tell_peer_news(&mut self, effects: &mut Vec<Effect<O, W>>) {
        let Some(link) = self.role.link() else { return };
        let (news, heartbeat_ns) = (self.news(), self.config.heartbeat_ns());
        if self.told_peer.is_due(news, self.lease.has_news(), self.now_ns, heartbeat_ns) {
            self.role.spoke(self.now_ns);
            self.beat(link, effects);
        }
    }

    fn beat(&mut self, link: Link, effects: &mut Vec<Effect<O, W>>) {
        let news = self.news();
        self.told_peer.tell(news, self.now_ns);
        let News { released, stalled_ns, health } = news;
        let (position, lease_ns) = (self.recorded, self.lease.tell());
        let message = Message::Heartbeat { position, released, lease_ns, stalled_ns, health };
        effects.push(Effect::Send { link, message });
    }

    fn news(&self) -> News {
        News { released: self.released, stalled_ns: self.vcpu.stalled_ns(), health: self.outlets.health() }
    }

    pub(super) fn claimed(
        &mut self,
        generation: Generation,
        outcome: ClaimOutcome,
        effects: &mut Vec<Effect<O, W>>,
    ) {
        let waits = matches!(outcome, ClaimOutcome::Unavailable { .. });
        let tells = match self.role.phase() {
            Phase::Starting => waits,
            Phase::Arbitrating => true,
            _ => false,
        };
        if tells {
            effects.push(Effect::Tell(Notice::Claimed { generation, outcome: outcome.clone() }));
        }
        self.tell_role(RoleEvent::Claimed { generation, outcome }, effects);
        if self.role.phase() == Phase::Yielding {
            effects.push(Effect::Tell(Notice::Yields { generation }));
        }
    }
}
