//! The model of the arbiter: a map, which keeps the contract of the one that ships, and answers that may fail to come.

use std::collections::BTreeMap;

use ftlog::Generation;
use protocol::arbiter::{Arbiter, ClaimOutcome};

use crate::random::Random;

/// What is entered.
#[derive(Default)]
pub struct Register(BTreeMap<Generation, String>);

impl Register {
    pub fn holder(&self, generation: Generation) -> Option<&str> {
        self.0.get(&generation).map(String::as_str)
    }

    pub fn newest(&self) -> Option<(Generation, &str)> {
        self.0.last_key_value().map(|(generation, holder)| (*generation, holder.as_str()))
    }

    /// Whether the generation before is whose the claimant thinks.
    fn follows(&self, generation: Generation, after: Option<&str>) -> bool {
        match after {
            None => self.0.is_empty(),
            Some(after) => self.holder(Generation(generation.0.saturating_sub(1))) == Some(after),
        }
    }
}

impl Arbiter for Register {
    fn claim(&mut self, generation: Generation, holder: &str, after: Option<&str>) -> ClaimOutcome {
        if let Some((_, later)) = self.newest().filter(|(newest, _)| *newest > generation) {
            return ClaimOutcome::Lost { holder: later.to_owned() };
        }
        if self.holder(generation).is_none() {
            if !self.follows(generation, after) {
                return ClaimOutcome::Unavailable { reason: "it comes after another".into() };
            }
            self.0.insert(generation, holder.to_owned());
        }
        match self.holder(generation) {
            Some(theirs) if theirs != holder => ClaimOutcome::Lost { holder: theirs.to_owned() },
            _ => ClaimOutcome::Won,
        }
    }

    fn latest(&mut self) -> Option<(Generation, String)> {
        self.newest().map(|(generation, holder)| (generation, holder.to_owned()))
    }
}

/// Who claims what.
#[derive(Debug, Clone)]
pub struct Claim {
    pub generation: Generation,
    pub holder: String,
    pub after: Option<String>,
}

/// The register behind a way that may be broken.
#[derive(Default)]
pub struct Remote {
    pub register: Register,
    down_until_ns: u64,
}

impl Remote {
    /// No answers before this time. What is asked may be entered all the same.
    pub fn take_down(&mut self, until_ns: u64) {
        self.down_until_ns = self.down_until_ns.max(until_ns);
    }

    pub fn claim(&mut self, claim: &Claim, now_ns: u64, random: &mut Random) -> ClaimOutcome {
        let down = now_ns < self.down_until_ns;
        if down && random.chance(700_000) {
            return ClaimOutcome::Unavailable { reason: "the directory is not there".into() };
        }
        let Claim { generation, holder, after } = claim;
        let outcome = self.register.claim(*generation, holder, after.as_deref());
        if down {
            return ClaimOutcome::Unavailable { reason: "the answer was lost".into() };
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use ftlog::VmId;
    use ftvmm::arbiter::{self, FileArbiter, Holder};
    use ftvmm_tests::harness;

    use super::*;

    /// The arbiter that ships, for one VM and some holders.
    struct Shipped {
        arbiter: FileArbiter,
        holders: Vec<Holder>,
    }

    impl Arbiter for Shipped {
        fn claim(&mut self, generation: Generation, holder: &str, after: Option<&str>) -> ClaimOutcome {
            let holder = self.holders.iter().find(|known| known.to_string() == holder).expect("it is known");
            let (name, vm, yields) = ("vm", VmId([7; 16]), false);
            self.arbiter.claim(&arbiter::Claim { name, vm, generation, after, holder, yields })
        }

        fn latest(&mut self) -> Option<(Generation, String)> {
            let latest = self.arbiter.latest("vm").expect("the directory is there")?;
            Some((latest.entry.generation, latest.entry.holder.to_string()))
        }
    }

    /// Whatever is claimed, by whom and after whom: the model says what the arbiter says that ships.
    #[test]
    fn the_arbiter_of_the_simulation_answers_as_the_one_that_ships() {
        let seed = harness::seed();
        let mut random = Random::new(seed);
        for round in 0..20 {
            let directory = tempfile::tempdir().unwrap();
            let arbiter = FileArbiter::open(&format!("file:{}", directory.path().display())).unwrap();
            let holders: Vec<_> = (0..3).map(|_| Holder::this_process().unwrap()).collect();
            let names: Vec<_> = holders.iter().map(Holder::to_string).collect();
            let (mut shipped, mut model) = (Shipped { arbiter, holders }, Register::default());
            for step in 0..60 {
                let newest = model.newest().map_or(0, |(generation, _)| generation.0);
                let generation = Generation((newest + 2).saturating_sub(random.within(0..=3)).max(1));
                let holder = &names[random.within(0..=2) as usize];
                let before = model.holder(Generation(generation.0 - 1)).map(str::to_owned);
                let after = match random.within(0..=3) {
                    0 => Some(names[random.within(0..=2) as usize].clone()),
                    _ => before,
                };
                let [ours, theirs] = [
                    model.claim(generation, holder, after.as_deref()),
                    shipped.claim(generation, holder, after.as_deref()),
                ]
                .map(|outcome| match outcome {
                    // In which words is not part of it.
                    ClaimOutcome::Unavailable { .. } => ClaimOutcome::Unavailable { reason: String::new() },
                    told => told,
                });
                let what =
                    format!("FTVMM_SEED={seed}, round {round}, step {step}: {generation} after {after:?}");
                assert_eq!(ours, theirs, "{what}");
                assert_eq!(model.latest(), shipped.latest(), "{what}");
            }
        }
    }
}
