//! How old the oldest record is that the secondary has not executed, and whether it executes at all.

use alloc::collections::VecDeque;

use ftlog::Position;

/// Marks kept at most; beyond it the newest mark stretches, so an age can only be overestimated.
const MOST_MARKS: usize = 512;
/// Records closer together than this fraction of the lag limit share a mark.
const MARKS_PER_LIMIT: u64 = 128;

/// A run of records: the last one's position, the first one's time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Mark {
    through: Position,
    since_ns: u64,
}

/// The ages of what was recorded and is not yet executed, in bounded memory. They count from the recording, wherever the
/// records have been since.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Lag {
    spacing_ns: u64,
    marks: VecDeque<Mark>,
    looked_ns: u64,
    /// For how long the peer has executed nothing although there was something, as far as this process has looked: one
    /// that was stopped for a minute has not seen that its peer did nothing.
    stood_ns: u64,
}

impl Lag {
    pub(super) fn new(max_lag_ns: u64) -> Self {
        Self { spacing_ns: max_lag_ns / MARKS_PER_LIMIT, marks: VecDeque::new(), looked_ns: 0, stood_ns: 0 }
    }

    /// Records up to `through` were made, the first of them at `since_ns`.
    pub(super) fn recorded(&mut self, through: Position, since_ns: u64) {
        if self.marks.is_empty() {
            (self.looked_ns, self.stood_ns) = (since_ns, 0);
        }
        let full = self.marks.len() >= MOST_MARKS;
        match self.marks.back_mut() {
            Some(last) if full || since_ns.saturating_sub(last.since_ns) < self.spacing_ns => {
                last.through = through;
            }
            _ => self.marks.push_back(Mark { through, since_ns }),
        }
    }

    /// Looks at the clock, which is due each `interval_ns`; gives for how long nothing has been executed although something
    /// was there, in ns.
    pub(super) fn standstill_ns(&mut self, now_ns: u64, interval_ns: u64) -> u64 {
        let passed_ns = now_ns.saturating_sub(self.looked_ns).min(interval_ns);
        self.looked_ns = now_ns;
        if self.marks.is_empty() {
            return 0;
        }
        self.stood_ns = self.stood_ns.saturating_add(passed_ns);
        self.stood_ns
    }

    /// Records up to `through` were executed.
    pub(super) fn executed(&mut self, through: Position, now_ns: u64) {
        (self.looked_ns, self.stood_ns) = (now_ns, 0);
        while self.marks.front().is_some_and(|mark| mark.through <= through) {
            self.marks.pop_front();
        }
    }

    /// The age of the oldest record not executed, in ns; 0 if all are.
    pub(super) fn age_ns(&self, now_ns: u64) -> u64 {
        self.marks.front().map_or(0, |mark| now_ns.saturating_sub(mark.since_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT_NS: u64 = 128_000;

    #[test]
    fn the_age_is_that_of_the_oldest_record_left() {
        let mut lag = Lag::new(LIMIT_NS);
        assert_eq!(lag.age_ns(7), 0);
        for n in 0..10 {
            lag.recorded(Position(n), n * 1000);
        }
        assert_eq!(lag.age_ns(20_000), 20_000);
        lag.executed(Position(3), 20_000);
        assert_eq!(lag.age_ns(20_000), 16_000);
        lag.executed(Position(9), 20_000);
        assert_eq!(lag.age_ns(20_000), 0);
    }

    #[test]
    fn memory_is_bounded_and_ages_err_on_the_old_side() {
        let mut lag = Lag::new(LIMIT_NS);
        for n in 0..100_000_u64 {
            lag.recorded(Position(n), n * 300);
            assert!(lag.marks.len() <= MOST_MARKS);
        }
        for executed in (0..100_000_u64).step_by(997) {
            lag.executed(Position(executed), 30_000_000);
            let true_age = 30_000_000 - (executed + 1) * 300;
            assert!(lag.age_ns(30_000_000) >= true_age, "after {executed}");
        }
        lag.executed(Position(99_999), 30_000_000);
        assert_eq!(lag.age_ns(30_000_000), 0);
    }

    #[test]
    fn who_executes_nothing_stands_since_there_is_something() {
        let mut lag = Lag::new(LIMIT_NS);
        lag.recorded(Position(1), 100);
        lag.recorded(Position(2), 300);
        assert_eq!(lag.standstill_ns(600, 1000), 500);
        assert_eq!(lag.standstill_ns(1_600, 1000), 1500);
        lag.executed(Position(1), 1_700);
        assert_eq!(lag.standstill_ns(1_800, 1000), 100);
        lag.executed(Position(2), 1_900);
        assert_eq!(lag.standstill_ns(2_000, 1000), 0, "nothing to execute");
        lag.recorded(Position(3), 5_000);
        assert_eq!(lag.standstill_ns(5_100, 1000), 100, "it had nothing to execute before");
    }

    #[test]
    fn time_in_which_nobody_looked_says_nothing_of_the_peer() {
        let mut lag = Lag::new(LIMIT_NS);
        lag.recorded(Position(1), 0);
        assert_eq!(lag.standstill_ns(60_000_000_000, 50), 50);
        assert_eq!(lag.standstill_ns(60_000_000_020, 50), 70);
    }
}
