//! One claim, asked again until the arbiter answers.

use alloc::string::String;

use ftlog::Generation;

use crate::{
    arbiter::ClaimOutcome,
    sabotage::{self, Check},
};

/// The first wait after an arbiter that did not answer, in ns; it doubles with each further one.
const FIRST_WAIT_NS: u64 = 20_000_000;
/// Doublings after which the wait stays the same (about 1.3 s).
const MOST_DOUBLINGS: u32 = 6;
/// When a question counts as hung and is asked again beside it, in ns: a file server that went away in the middle may
/// never answer it, though it answers the next.
const PATIENCE_NS: u64 = 5_000_000_000;
/// Questions that may be out at a time; each holds a thread.
const MOST_OUT: u32 = 3;

/// How long a side that is not well leaves the first claim to the other, in ns: longer than it takes two sides to notice
/// that they have lost each other, and to execute what is left.
const HESITATION_NS: u64 = 2_000_000_000;

/// What the arbiter has decided.
pub(super) enum Decision {
    /// The generation is ours.
    Won,
    /// It is somebody else's.
    Lost {
        /// Whose.
        holder: String,
    },
}

/// A claim under way. It is given up only for a definite answer: a claim without one may have been entered.
///
/// A claim can be repeated, so it does not matter which of several questions an answer belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Arbitration {
    generation: Generation,
    doublings: u32,
    /// Questions without an answer.
    out: u32,
    /// When the clock was first looked at after the last question.
    asked_ns: Option<u64>,
    /// When to ask again after an answer that was none.
    ask_ns: Option<u64>,
}

impl Arbitration {
    /// The caller asks right away.
    pub(super) fn new(generation: Generation) -> Self {
        Self { generation, doublings: 0, out: 1, asked_ns: None, ask_ns: None }
    }

    /// The first question has to wait: the other side, if it is there, had better have the VM.
    pub(super) fn hesitating(generation: Generation, now_ns: u64) -> Self {
        let ask_ns = Some(now_ns.saturating_add(HESITATION_NS));
        Self { out: 0, ask_ns, ..Self::new(generation) }
    }

    /// What is claimed.
    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    /// Takes an answer; gives what it decides, if it decides and was asked for.
    pub(super) fn answered(
        &mut self,
        generation: Generation,
        outcome: ClaimOutcome,
        now_ns: u64,
    ) -> Option<Decision> {
        if !self.expects(generation) {
            return None;
        }
        match outcome {
            ClaimOutcome::Won => Some(Decision::Won),
            ClaimOutcome::Lost { .. } if sabotage::disabled(Check::Arbiter) => Some(Decision::Won),
            ClaimOutcome::Unavailable { .. } if sabotage::disabled(Check::Unavailable) => Some(Decision::Won),
            ClaimOutcome::Lost { holder } => Some(Decision::Lost { holder }),
            ClaimOutcome::Unavailable { .. } => {
                self.unavailable(now_ns);
                None
            }
        }
    }

    /// Whether an answer for `generation` is expected.
    fn expects(&self, generation: Generation) -> bool {
        self.out > 0 && self.generation == generation
    }

    /// The arbiter did not answer.
    fn unavailable(&mut self, now_ns: u64) {
        self.out = self.out.saturating_sub(1);
        self.ask_ns = Some(now_ns.saturating_add(FIRST_WAIT_NS << self.doublings));
        self.doublings = (self.doublings + 1).min(MOST_DOUBLINGS);
    }

    /// Whether to ask again now; if so, one question more counts as out. Due at every tick.
    pub(super) fn ask_again(&mut self, now_ns: u64) -> bool {
        let asked_ns = *self.asked_ns.get_or_insert(now_ns);
        let again_ns = self.ask_ns.unwrap_or(asked_ns.saturating_add(PATIENCE_NS));
        let asks = now_ns >= again_ns && self.out < MOST_OUT;
        if asks {
            self.out += 1;
            self.asked_ns = Some(now_ns);
            self.ask_ns = None;
        }
        asks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn asks_again_for_ever_with_bounded_waits() {
        let mut arbitration = Arbitration::new(Generation(2));
        let mut now_ns = 0;
        let mut waits = Vec::new();
        for _ in 0..40 {
            assert!(arbitration.expects(Generation(2)) && !arbitration.ask_again(now_ns));
            arbitration.unavailable(now_ns);
            let asked_ns = now_ns;
            while !arbitration.ask_again(now_ns) {
                now_ns += 10_000_000;
            }
            waits.push((now_ns - asked_ns) / 1_000_000);
        }
        assert_eq!(waits[..8], [20, 40, 80, 160, 320, 640, 1280, 1280]);
        assert_eq!(waits[39], 1280);
    }

    #[test]
    fn a_question_that_hangs_is_asked_again_a_few_times() {
        let mut arbitration = Arbitration::new(Generation(2));
        let asked: Vec<u64> = (0..1000).filter(|tenth| arbitration.ask_again(tenth * SECOND / 10)).collect();
        assert_eq!(asked, [50, 100], "each holds a thread for as long as it hangs");
        assert!(arbitration.expects(Generation(2)), "whichever of them is answered");
        arbitration.unavailable(100 * SECOND);
        assert!(!arbitration.ask_again(100 * SECOND));
        assert!(arbitration.ask_again(101 * SECOND), "there is room for one more");
        assert!(!arbitration.ask_again(1000 * SECOND));
    }

    #[test]
    fn an_answer_to_another_question_is_not_expected() {
        let mut arbitration = Arbitration::new(Generation(2));
        assert!(!arbitration.expects(Generation(1)) && !arbitration.expects(Generation(3)));
        arbitration.unavailable(0);
        assert!(!arbitration.expects(Generation(2)), "nothing is out");
    }

    #[test]
    fn who_is_not_well_asks_later() {
        let mut arbitration = Arbitration::hesitating(Generation(2), 7);
        assert!(!arbitration.expects(Generation(2)));
        assert!(!arbitration.ask_again(6 + HESITATION_NS));
        assert!(arbitration.ask_again(7 + HESITATION_NS) && arbitration.expects(Generation(2)));
    }
}
