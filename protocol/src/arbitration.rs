//! One claim, asked again until the arbiter answers.

use ftlog::Generation;

/// The first wait after an arbiter that did not answer, in ns; it doubles with each further one.
const FIRST_WAIT_NS: u64 = 20_000_000;
/// Doublings after which the wait stays the same (about 1.3 s).
const MOST_DOUBLINGS: u32 = 6;

/// A claim under way. It is given up only for a definite answer: a claim without one may have been entered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Arbitration {
    generation: Generation,
    doublings: u32,
    /// When to ask again; none while a question is out.
    ask_ns: Option<u64>,
}

impl Arbitration {
    /// The caller asks right away.
    pub(super) fn new(generation: Generation) -> Self {
        Self { generation, doublings: 0, ask_ns: None }
    }

    /// What is claimed.
    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether an answer for `generation` is expected.
    pub(super) fn expects(&self, generation: Generation) -> bool {
        self.ask_ns.is_none() && self.generation == generation
    }

    /// The arbiter did not answer.
    pub(super) fn unavailable(&mut self, now_ns: u64) {
        self.ask_ns = Some(now_ns.saturating_add(FIRST_WAIT_NS << self.doublings));
        self.doublings = (self.doublings + 1).min(MOST_DOUBLINGS);
    }

    /// Whether to ask again now; if so, the question counts as out.
    pub(super) fn ask_again(&mut self, now_ns: u64) -> bool {
        let due = self.ask_ns.is_some_and(|ask_ns| now_ns >= ask_ns);
        if due {
            self.ask_ns = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_again_for_ever_with_bounded_waits() {
        let mut arbitration = Arbitration::new(Generation(2));
        let mut now_ns = 0;
        let mut waits = Vec::new();
        for _ in 0..40 {
            assert!(arbitration.expects(Generation(2)) && !arbitration.ask_again(u64::MAX));
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
    fn an_answer_to_another_question_is_not_expected() {
        let mut arbitration = Arbitration::new(Generation(2));
        assert!(!arbitration.expects(Generation(1)) && !arbitration.expects(Generation(3)));
        arbitration.unavailable(0);
        assert!(!arbitration.expects(Generation(2)), "nothing is out");
    }
}
