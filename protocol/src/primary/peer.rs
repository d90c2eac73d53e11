//! A secondary, from its Welcome to its loss: what it says, and what follows from that.

use alloc::vec::Vec;

use ftlog::Position;

use super::{
    Effect, Link, PeerEvent, Phase, Primary, pace,
    session::{Progress, Session},
};
use crate::{
    LossReason, Recovery, Violation,
    arbitration::Arbitration,
    sabotage::{self, Check},
};

impl Primary {
    pub(super) fn peer_ready(
        &mut self,
        link: Link,
        window_bytes: u64,
        now_ns: u64,
        effects: &mut Vec<Effect>,
    ) {
        if self.last_link.is_some_and(|last| link <= last) {
            return;
        }
        self.last_link = Some(link);
        if self.phase != Phase::Unprotected {
            return effects.push(Effect::DropPeer { link, reason: LossReason::Unwanted });
        }
        let least_bytes = pace::least_window_bytes(&self.config);
        if window_bytes < least_bytes {
            let violation = Violation::Window { window_bytes, least_bytes };
            return effects.push(Effect::DropPeer { link, reason: violation.into() });
        }
        self.session = Some(Session::new(link, window_bytes, &self.config, now_ns));
        self.phase = Phase::Seeding;
        effects.push(Effect::StartSeed { link });
    }

    pub(super) fn peer(&mut self, link: Link, event: PeerEvent, now_ns: u64, effects: &mut Vec<Effect>) {
        let Some(session) = &mut self.session else { return };
        if session.link != link {
            return;
        }
        let handled = match event {
            PeerEvent::Ready { .. } => Ok(()),
            PeerEvent::SeedStarted { position } => {
                session.seed_started(position);
                Ok(())
            }
            PeerEvent::SeedSent => {
                if let Some(after) = session.arm() {
                    effects.extend([Effect::CloseGate { after }, Effect::SendSeedDone { link }]);
                }
                Ok(())
            }
            PeerEvent::Heard => {
                session.detector.heard(now_ns);
                Ok(())
            }
            PeerEvent::SeedHeld { position } => self.seed_held(position, now_ns),
            PeerEvent::Condition(condition) => {
                session.detector.heard(now_ns);
                session.told(condition, &self.config)
            }
            PeerEvent::Acknowledged { received, executed, executed_bytes, condition } => {
                session.detector.heard(now_ns);
                let progress = Progress { received, executed, executed_bytes };
                let told = session.acknowledged(progress, now_ns).map(|news| {
                    effects.extend(news.map(|through| Effect::Release { through }));
                });
                told.and_then(|()| session.told(condition, &self.config))
            }
            PeerEvent::Lost(reason) => Err(reason),
        };
        match handled {
            Ok(()) => self.send_log(now_ns, effects),
            Err(reason) => self.lost(reason, now_ns, effects),
        }
    }

    fn seed_held(&mut self, position: Position, now_ns: u64) -> Result<(), LossReason> {
        let Some(session) = &mut self.session else { return Ok(()) };
        session.detector.heard(now_ns);
        session.seed_held(position)?;
        if self.phase == Phase::Seeding {
            self.phase = Phase::Protected;
        }
        Ok(())
    }

    pub(super) fn lost(&mut self, reason: LossReason, now_ns: u64, effects: &mut Vec<Effect>) {
        let Some(session) = self.session.take() else { return };
        effects.push(Effect::DropPeer { link: session.link, reason });
        if !session.is_armed() {
            self.phase = Phase::Unprotected;
            return;
        }
        if sabotage::disabled(Check::Armed) {
            self.phase = Phase::Unprotected;
            return effects.push(Effect::OpenGate);
        }
        self.phase = Phase::Arbitrating;
        self.recovery = Some(Recovery {
            heard_ns: session.detector.heard_ns(),
            detected_ns: now_ns,
            drained_ns: Some(now_ns),
            won_ns: None,
        });
        if self.unwell && self.arbitration.is_none() {
            self.arbitration = Some(Arbitration::hesitating(self.generation.next(), now_ns));
        }
        self.claim_next(effects);
    }
}
