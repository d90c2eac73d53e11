//! What a controller looks at: the arbiter, and whether the VM had better be elsewhere.

use alloc::vec::Vec;

use super::{Controller, Effect, Halt, Notice, OnTrouble, Sight};
use crate::primary::{Event as RoleEvent, Phase};

impl<O, W> Controller<O, W> {
    /// Stops where the guest can reach nobody, when it could from the secondary.
    pub(super) fn hand_over_if_better(&mut self, effects: &mut Vec<Effect<O, W>>) {
        let possible = self.on_trouble == OnTrouble::Handover
            && self.role.phase() == Phase::Protected
            && !self.operator.is_busy();
        let Some(condition) = self.role.condition().filter(|_| possible) else { return };
        if let Some(health) = self.outlets.hands_over(condition.health, self.now_ns) {
            self.halt(Halt::Unwell(health), effects);
        }
    }

    /// Now and then, from the first generation that this side holds on.
    pub(super) fn look_at_arbiter(&mut self, effects: &mut Vec<Effect<O, W>>) {
        if self.role.phase() == Phase::Starting {
            return;
        }
        effects.extend(self.looks.late(self.now_ns).map(|why| Effect::Tell(Notice::ArbiterUnclear(why))));
        if self.looks.begin(self.now_ns) {
            effects.push(Effect::Look { ours: self.role.generation() });
        }
    }

    pub(super) fn looked(&mut self, sight: Sight, effects: &mut Vec<Effect<O, W>>) {
        self.looks.ended(self.now_ns);
        match sight {
            Sight::Ours => effects.push(Effect::Tell(Notice::ArbiterSeen)),
            Sight::Unclear(why) => effects.push(Effect::Tell(Notice::ArbiterUnclear(why))),
            Sight::Later { generation, holder } => {
                self.tell_role(RoleEvent::ArbiterShows { generation, holder }, effects);
            }
        }
    }
}
