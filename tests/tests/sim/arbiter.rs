//! The model of the arbiter: a map, and answers that may fail to come.

use std::collections::BTreeMap;

use ftlog::Generation;
use protocol::arbiter::ClaimOutcome;

use crate::process::Name;
use crate::random::Random;

#[derive(Default)]
pub struct Arbiter {
    holders: BTreeMap<Generation, Name>,
    down_until_ns: u64,
}

impl Arbiter {
    /// No answers before this time. What is asked may be entered all the same.
    pub fn take_down(&mut self, until_ns: u64) {
        self.down_until_ns = self.down_until_ns.max(until_ns);
    }

    pub fn claim(
        &mut self,
        generation: Generation,
        by: Name,
        now_ns: u64,
        random: &mut Random,
    ) -> ClaimOutcome {
        let down = now_ns < self.down_until_ns;
        if down && random.chance(700_000) {
            return ClaimOutcome::Unavailable { reason: "the directory is not there".into() };
        }
        let holder = *self.holders.entry(generation).or_insert(by);
        if down {
            return ClaimOutcome::Unavailable { reason: "the answer was lost".into() };
        }
        if holder == by { ClaimOutcome::Won } else { ClaimOutcome::Lost { holder: holder.to_string() } }
    }

    pub fn holder(&self, generation: Generation) -> Option<Name> {
        self.holders.get(&generation).copied()
    }

    pub fn latest(&self) -> Option<(Generation, Name)> {
        self.holders.last_key_value().map(|(generation, holder)| (*generation, *holder))
    }
}
