//! Becoming the VM: from the loss of the primary to what the arbiter says.

use alloc::vec::Vec;

use ftlog::Generation;

use super::{DiscardReason, Effect, Phase, Secondary};
use crate::{
    LossReason, Recovery,
    arbiter::ClaimOutcome,
    arbitration::{Arbitration, Decision},
    sabotage::{self, Check},
};

impl Secondary {
    pub(super) fn lost(&mut self, reason: LossReason, now_ns: u64, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Seeding && !sabotage::disabled(Check::Seed) {
            return self.discard(DiscardReason::SeedIncomplete(reason), effects);
        }
        let whole = match reason {
            LossReason::Closed | LossReason::Silent { .. } | LossReason::Stalled { .. } => true,
            LossReason::Damaged | LossReason::Violation(_) | LossReason::Detached | LossReason::Unwanted => {
                sabotage::disabled(Check::Corrupt)
            }
        };
        if !whole {
            return self.discard(DiscardReason::LogBroken(reason), effects);
        }
        self.phase = Phase::Draining;
        self.recovery = Some(Recovery {
            heard_ns: self.detector.heard_ns(),
            detected_ns: now_ns,
            drained_ns: None,
            won_ns: None,
        });
        effects.push(Effect::DropPeer { reason });
        self.claim_if_drained(now_ns, effects);
    }

    pub(super) fn claim_if_drained(&mut self, now_ns: u64, effects: &mut Vec<Effect>) {
        let drained = self.log.is_drained() || sabotage::disabled(Check::Drain);
        if self.phase != Phase::Draining || !drained {
            return;
        }
        if let Some(recovery) = &mut self.recovery {
            recovery.drained_ns = Some(now_ns);
        }
        let generation = self.generation.next();
        self.phase = Phase::Arbitrating;
        if self.unwell {
            self.arbitration = Some(Arbitration::hesitating(generation, now_ns));
            return;
        }
        self.arbitration = Some(Arbitration::new(generation));
        effects.push(Effect::Claim { generation });
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
            Some(Decision::Won) => self.go_live(generation, now_ns, effects),
            Some(Decision::Lost { holder }) => {
                self.discard(DiscardReason::ClaimLost { generation, holder }, effects);
            }
            None => {}
        }
    }

    fn go_live(&mut self, generation: Generation, now_ns: u64, effects: &mut Vec<Effect>) {
        assert!(
            self.log.is_drained() || sabotage::disabled(Check::Drain),
            "going live at {} of a log that ends at {}",
            self.log.executed,
            self.log.received
        );
        self.arbitration = None;
        self.phase = Phase::Live;
        self.generation = generation;
        if let Some(recovery) = &mut self.recovery {
            recovery.won_ns = Some(now_ns);
        }
        effects.push(Effect::GoLive { generation, from: self.log.executed });
    }
}
