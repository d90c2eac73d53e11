//! Looking for a secondary: where, which attempt is still wanted, and when the next one is due.
//!
//! An attempt takes as long as names resolve and hosts answer. What it brings is wanted only if nothing else has been
//! decided since it began: so each has a number, and what the operator decides makes the earlier ones stale.

use alloc::string::String;

use super::Attempt;

/// The wait after the first attempt that came to nothing, in ns; it doubles with each further one.
const FIRST_WAIT_NS: u64 = 200_000_000;
/// Doublings after which the wait stays the same (6.4 s).
const MOST_DOUBLINGS: u32 = 5;
/// Attempts that may be under way, all but one of them stale; a thread is waiting in each.
const MOST_UNDER_WAY: u32 = 4;

/// The search for a peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Search {
    peer: Option<String>,
    next: Attempt,
    /// The attempt whose outcome is wanted.
    wanted: Option<Attempt>,
    under_way: u32,
    failures: u32,
    at_ns: u64,
}

impl Search {
    pub(super) fn new(peer: Option<String>) -> Self {
        Self { peer, next: Attempt(0), wanted: None, under_way: 0, failures: 0, at_ns: 0 }
    }

    /// Where it looks.
    pub(super) fn peer(&self) -> Option<&str> {
        self.peer.as_deref()
    }

    /// Looks there from now on, or nowhere. Whatever is under way is stale.
    pub(super) fn look_at(&mut self, peer: Option<String>) {
        self.peer = peer;
        self.wanted = None;
        self.failures = 0;
        self.at_ns = 0;
    }

    /// Begins an attempt, if one is due.
    pub(super) fn begin(&mut self, now_ns: u64) -> Option<(Attempt, String)> {
        let peer = self.peer.clone()?;
        if self.wanted.is_some() || now_ns < self.at_ns {
            return None;
        }
        let attempt = self.number()?;
        self.wanted = Some(attempt);
        Some((attempt, peer))
    }

    /// A number for an attempt that is not part of the search; `None` when there are too many.
    pub(super) fn number(&mut self) -> Option<Attempt> {
        if self.under_way == MOST_UNDER_WAY {
            return None;
        }
        self.under_way += 1;
        let attempt = self.next;
        self.next.0 += 1;
        Some(attempt)
    }

    /// An attempt has ended. True if what it brings is wanted.
    pub(super) fn ended(&mut self, attempt: Attempt) -> bool {
        self.under_way = self.under_way.saturating_sub(1);
        self.wanted.take_if(|wanted| *wanted == attempt).is_some()
    }

    /// What was begun has come to nothing, be it only after the peer had answered.
    pub(super) fn failed(&mut self, now_ns: u64) {
        let wait_ns = FIRST_WAIT_NS << self.failures.min(MOST_DOUBLINGS);
        self.failures = self.failures.saturating_add(1);
        self.at_ns = now_ns.saturating_add(wait_ns);
    }

    /// There was a secondary: the next attempt is a first one.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.at_ns = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_waited_for_longer_and_longer_and_forgotten_after_a_success() {
        let mut search = Search::new(Some("there".into()));
        let (mut now_ns, mut waits_ns) = (0, alloc::vec::Vec::new());
        for n in 0..9 {
            let (attempt, to) = search.begin(now_ns).unwrap();
            assert_eq!((attempt, to.as_str()), (Attempt(n), "there"));
            assert!(search.begin(now_ns).is_none(), "one at a time");
            assert!(search.ended(attempt));
            search.failed(now_ns);
            let due_ns = search.at_ns;
            assert!(search.begin(due_ns - 1).is_none());
            waits_ns.push(due_ns - now_ns);
            now_ns = due_ns;
        }
        assert_eq!(waits_ns[..3], [FIRST_WAIT_NS, 2 * FIRST_WAIT_NS, 4 * FIRST_WAIT_NS]);
        assert_eq!(waits_ns[6..], [32 * FIRST_WAIT_NS; 3]);
        search.succeeded();
        assert!(search.begin(now_ns).is_some());
    }

    #[test]
    fn an_attempt_that_was_decided_against_is_not_wanted_whatever_it_brings() {
        let mut search = Search::new(Some("a".into()));
        let (first, _) = search.begin(0).unwrap();
        search.look_at(None);
        assert!(search.begin(1 << 40).is_none(), "there is nowhere to look");
        search.look_at(Some("b".into()));
        let (second, to) = search.begin(0).unwrap();
        assert_eq!(to, "b");
        assert!(!search.ended(first));
        assert!(search.ended(second));
        assert!(!search.ended(second), "once");
    }

    #[test]
    fn threads_that_wait_for_slow_hosts_are_bounded() {
        let mut search = Search::new(None);
        for n in 0..MOST_UNDER_WAY {
            search.look_at(Some("slow".into()));
            assert_eq!(search.begin(0).unwrap().0, Attempt(n));
        }
        search.look_at(Some("other".into()));
        assert!(search.begin(0).is_none());
        search.ended(Attempt(0));
        assert_eq!(search.begin(0).unwrap().1, "other");
    }
}
