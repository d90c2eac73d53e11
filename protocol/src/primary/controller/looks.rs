//! Looking at the arbiter while this side has the VM: an operator may have had it started elsewhere (`--force`).

use alloc::{format, string::String};

use crate::LOOK_NS;

/// A look that takes longer than this is told as trouble, ns.
const LATE_NS: u64 = 3 * LOOK_NS;
/// After so long it counts as hung, ns: a file server that went away in the middle may never answer it.
const HUNG_NS: u64 = 10 * LOOK_NS;
/// Looks that may be under way; each holds a thread.
const MOST_OUT: u32 = 3;

/// When to look, and whether somebody does.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub(super) struct Looks {
    /// Looks under way, and when the last of them began.
    out: u32,
    since_ns: u64,
    next_ns: u64,
    late: bool,
}

impl Looks {
    /// Calls for a look, if it is time for one; it then counts as under way.
    pub(super) fn begin(&mut self, now_ns: u64) -> bool {
        let waited_ns = now_ns.saturating_sub(self.since_ns);
        let hangs = self.out > 0 && self.out < MOST_OUT && waited_ns > HUNG_NS;
        let due = self.out == 0 && now_ns >= self.next_ns || hangs;
        if due {
            self.out += 1;
            self.since_ns = now_ns;
        }
        due
    }

    /// What is to be said of a look that takes too long; once for each.
    pub(super) fn late(&mut self, now_ns: u64) -> Option<String> {
        let late = self.out > 0 && now_ns.saturating_sub(self.since_ns) > LATE_NS;
        let news = late && !self.late;
        self.late = late;
        news.then(|| format!("no answer for more than {} s", LATE_NS / 1_000_000_000))
    }

    /// A look has ended.
    pub(super) fn ended(&mut self, now_ns: u64) {
        self.out = self.out.saturating_sub(1);
        self.late = false;
        self.next_ns = now_ns.saturating_add(LOOK_NS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_at_a_time_and_a_pause_after_each() {
        let mut looks = Looks::default();
        assert!(looks.begin(7));
        assert!(!looks.begin(7 + HUNG_NS), "one is under way");
        assert!(looks.late(7 + LATE_NS).is_none());
        assert!(looks.late(8 + LATE_NS).is_some() && looks.late(9 + LATE_NS).is_none(), "told once");
        looks.ended(9);
        assert!(looks.late(u64::MAX).is_none() && !looks.begin(8 + LOOK_NS));
        assert!(looks.begin(9 + LOOK_NS));
    }

    #[test]
    fn a_look_that_hangs_is_followed_by_a_few_others() {
        let mut looks = Looks::default();
        let mut begun = (0..1000).filter(|n| looks.begin(n * LOOK_NS));
        assert_eq!(begun.by_ref().collect::<alloc::vec::Vec<_>>(), [0, 11, 22]);
        looks.ended(1000 * LOOK_NS);
        assert!(looks.begin(1000 * LOOK_NS), "one place is free again");
    }
}
