//! Going on alone: what the arbiter is asked, and what follows from its answers.

use alloc::{string::String, vec::Vec};

use ftlog::Generation;

use super::{Effect, HaltReason, Phase, Primary};
use crate::{
    LossReason,
    arbiter::ClaimOutcome,
    arbitration::{Arbitration, Decision},
};

impl Primary {
    /// Claims the next generation, unless that is under way (for a Detach).
    pub(super) fn claim_next(&mut self, effects: &mut Vec<Effect>) {
        if self.arbitration.is_none() {
            let generation = self.generation.next();
            self.arbitration = Some(Arbitration::new(generation));
            effects.push(Effect::Claim { generation });
        }
    }

    pub(super) fn detach(&mut self, now_ns: u64, effects: &mut Vec<Effect>) {
        self.detach_wanted = true;
        match &self.session {
            Some(session) if session.is_armed() => {
                self.phase = Phase::Detaching;
                self.claim_next(effects);
            }
            Some(session) => {
                effects.push(Effect::SendDetach { link: session.link });
                self.lost(LossReason::Detached, now_ns, effects);
                self.report_detached(effects);
            }
            None if self.phase == Phase::Unprotected => self.report_detached(effects),
            None => {}
        }
    }

    pub(super) fn report_detached(&mut self, effects: &mut Vec<Effect>) {
        if core::mem::take(&mut self.detach_wanted) {
            effects.push(Effect::Detached);
        }
    }

    pub(super) fn claimed(
        &mut self,
        generation: Generation,
        outcome: ClaimOutcome,
        now_ns: u64,
        effects: &mut Vec<Effect>,
    ) {
        let Some(arbitration) = &mut self.arbitration else { return };
        match arbitration.answered(generation, outcome, now_ns) {
            Some(Decision::Won) => self.won(generation, now_ns, effects),
            Some(Decision::Lost { holder }) => {
                self.halt(HaltReason::ClaimLost { generation, holder }, effects);
            }
            None => {}
        }
    }

    /// Whatever this side does now, protected or claiming: the next generation is not to be had any more.
    pub(super) fn shown(&mut self, generation: Generation, holder: String, effects: &mut Vec<Effect>) {
        let ours = self.generation;
        if generation > ours {
            self.halt(HaltReason::Overtaken { generation, holder, ours }, effects);
        }
    }

    /// The next generation is ours: whoever else holds our state can no longer go live with it.
    pub(super) fn won(&mut self, generation: Generation, now_ns: u64, effects: &mut Vec<Effect>) {
        assert!(generation == self.generation.next(), "won {generation} while at {}", self.generation);
        self.arbitration = None;
        self.generation = generation;
        if self.phase == Phase::Starting && self.yield_ns > 0 {
            self.phase = Phase::Yielding;
            self.yields_until_ns = now_ns.saturating_add(self.yield_ns);
            return;
        }
        self.enter(now_ns, effects);
    }

    /// This side goes on alone in its generation.
    pub(super) fn enter(&mut self, now_ns: u64, effects: &mut Vec<Effect>) {
        let generation = self.generation;
        self.phase = Phase::Unprotected;
        if let Some(recovery) = &mut self.recovery {
            recovery.won_ns.get_or_insert(now_ns);
        }
        effects.push(Effect::EnterGeneration { generation });
        if let Some(session) = self.session.take() {
            let link = session.link;
            effects.push(Effect::SendDetach { link });
            effects.push(Effect::DropPeer { link, reason: LossReason::Detached });
        }
        effects.push(Effect::OpenGate);
        self.report_detached(effects);
    }

    pub(super) fn halt(&mut self, reason: HaltReason, effects: &mut Vec<Effect>) {
        self.arbitration = None;
        self.phase = Phase::Halted;
        effects.push(Effect::Halt { reason });
        if let Some(session) = self.session.take() {
            effects.push(Effect::DropPeer { link: session.link, reason: LossReason::Detached });
        }
    }
}
