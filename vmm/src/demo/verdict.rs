//! What the clients' answers and the counters' final values say about the guest.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::client::{Action, History, Reply};
use crate::control::Takeover;

/// Increments, judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Answered with a count.
    pub acknowledged: u64,
    /// Sent but never answered: they may have taken effect or not.
    pub unknown: u64,
    /// Acknowledged increments that a later answer or the final value does not show.
    pub lost: u64,
    /// Counts that were given out twice, and increments that nobody asked for.
    pub repeated: u64,
}

/// An answered INCR.
struct Increment {
    invoked_ns: u64,
    answered_ns: u64,
    count: i64,
}

/// Holds the increments of `history` against the counters' values after it; each counter began at 0.
#[must_use]
pub fn count(history: &History, finals: &BTreeMap<Arc<str>, u64>) -> Counted {
    let mut total = Counted::default();
    for (key, &value) in finals {
        let of_key = history.operations.iter().filter(|operation| operation.key == *key);
        let (mut increments, mut unknown) = (Vec::new(), 0);
        for operation in of_key.filter(|operation| operation.action == Action::Incr) {
            match &operation.answer {
                None => unknown += 1,
                Some(answer) => {
                    if let Reply::Integer(count) = answer.reply {
                        let (invoked_ns, answered_ns) = (operation.invoked_ns, answer.at_ns);
                        increments.push(Increment { invoked_ns, answered_ns, count });
                    }
                }
            }
        }
        let acknowledged = increments.len() as u64;
        total.acknowledged += acknowledged;
        total.unknown += unknown;
        total.lost += lost(&increments, value);
        total.repeated += given_twice(&increments) + value.saturating_sub(acknowledged + unknown);
    }
    total
}

/// Increments beyond the final value, and those answered with less than was already acknowledged when they were sent.
fn lost(increments: &[Increment], value: u64) -> u64 {
    let mut by_answer: Vec<&Increment> = increments.iter().collect();
    by_answer.sort_by_key(|increment| increment.answered_ns);
    let mut by_invocation: Vec<&Increment> = increments.iter().collect();
    by_invocation.sort_by_key(|increment| increment.invoked_ns);
    let (mut answered, mut highest, mut lost) = (by_answer.into_iter().peekable(), 0, 0);
    for increment in by_invocation {
        while let Some(earlier) = answered.next_if(|earlier| earlier.answered_ns < increment.invoked_ns) {
            highest = highest.max(earlier.count);
        }
        lost += u64::from(increment.count < highest || increment.count > value as i64);
    }
    lost
}

fn given_twice(increments: &[Increment]) -> u64 {
    let mut counts: Vec<i64> = increments.iter().map(|increment| increment.count).collect();
    counts.sort_unstable();
    counts.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64
}

/// The demo's result, as `--json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// Acknowledged increments.
    pub acknowledged: u64,
    /// Increments whose connection broke before the answer.
    pub unknown: u64,
    /// Acknowledged increments that are gone.
    pub lost: u64,
    /// Increments that took effect more than once.
    pub repeated: u64,
    /// The longest time without an answer to any client, ms.
    pub longest_gap_ms: f64,
    /// The takeovers, in order.
    pub takeovers: Vec<Takeover>,
    /// Log from primary to secondary under load, bytes per second.
    pub log_bytes_per_s: f64,
    /// Clients whose one TCP connection lasted from beginning to end.
    pub connections_survived: u32,
    /// Clients.
    pub connections: u32,
    /// `passed`, or what went wrong.
    pub verdict: String,
}

/// How many times the demo kills.
pub const KILLS: usize = 2;

impl Verdict {
    /// Judges a demo.
    #[must_use]
    pub fn of(history: &History, counted: Counted, takeovers: Vec<Takeover>, log_bytes_per_s: f64) -> Self {
        let mut verdict = Self {
            acknowledged: counted.acknowledged,
            unknown: counted.unknown,
            lost: counted.lost,
            repeated: counted.repeated,
            longest_gap_ms: history.longest_gap_ns() as f64 / 1e6,
            takeovers,
            log_bytes_per_s,
            connections_survived: history.survived,
            connections: history.connections,
            verdict: String::new(),
        };
        verdict.verdict = verdict.complaint(history).unwrap_or_else(|| "passed".into());
        verdict
    }

    /// Whether nothing went wrong.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.verdict == "passed"
    }

    fn complaint(&self, history: &History) -> Option<String> {
        if self.lost > 0 || self.repeated > 0 {
            return Some(format!("{} lost and {} repeated increments", self.lost, self.repeated));
        }
        if self.takeovers.len() != KILLS {
            return Some(format!("{} takeovers after {KILLS} kills", self.takeovers.len()));
        }
        if let Some(reason) = history.gave_up.first() {
            return Some(format!("a client gave up: {reason}"));
        }
        if let Some(refusal) = history.refusals().first() {
            return Some(format!("the guest refused an increment: {refusal}"));
        }
        (self.acknowledged == 0).then(|| "no increment was ever acknowledged".into())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::client::{Answer, Operation},
        *,
    };

    /// Increments of one counter: when sent, when answered, with what; no answer is 0.
    fn judge(increments: &[(u64, u64, i64)], value: u64) -> Counted {
        let operations = increments.iter().map(|&(invoked_ns, at_ns, count)| Operation {
            connection: 0,
            key: "k".into(),
            action: Action::Incr,
            invoked_ns,
            answer: (count > 0).then_some(Answer { at_ns, reply: Reply::Integer(count) }),
        });
        let history = History { operations: operations.collect(), ..History::default() };
        count(&history, &BTreeMap::from([("k".into(), value)]))
    }

    #[test]
    fn concurrent_increments_may_be_answered_in_any_order() {
        let counted = judge(&[(0, 10, 2), (1, 9, 1), (11, 12, 3)], 3);
        assert_eq!(counted, Counted { acknowledged: 3, ..Counted::default() });
    }

    #[test]
    fn an_unanswered_increment_may_count_or_not() {
        for value in [1, 2] {
            let counted = judge(&[(0, 1, 1), (2, 0, 0)], value);
            assert_eq!(counted, Counted { acknowledged: 1, unknown: 1, ..Counted::default() }, "{value}");
        }
        assert_eq!(judge(&[(0, 1, 1), (2, 0, 0)], 3).repeated, 1, "nobody asked for a third");
    }

    #[test]
    fn a_count_that_goes_back_is_a_loss() {
        assert_eq!(
            judge(&[(0, 1, 1), (2, 3, 2), (4, 5, 1)], 1).lost,
            2,
            "the 2, and what the second 1 forgot"
        );
        assert_eq!(judge(&[(0, 1, 1), (2, 3, 2)], 1).lost, 1);
    }

    #[test]
    fn a_count_given_twice_is_a_repetition() {
        assert_eq!(judge(&[(0, 3, 1), (1, 2, 1)], 2).repeated, 1);
    }

    #[test]
    fn a_verdict_wants_both_takeovers() {
        let counted = Counted { acknowledged: 1, ..Counted::default() };
        let verdict = Verdict::of(&History::default(), counted, Vec::new(), 0.0);
        assert!(!verdict.passed() && verdict.verdict.contains("0 takeovers"), "{}", verdict.verdict);
    }
}
