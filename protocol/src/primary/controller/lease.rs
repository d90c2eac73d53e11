//! The lease on shared disks: how old an acknowledgement may be, and when one is asked for.
//!
//! Whoever writes has to be known to be the VM; see [`crate::fence`]. The lease is for a time after the log was *sent*
//! whose acknowledgement is here. Where a round trip takes longer than that, no write would ever pass: so the lease
//! follows the round trip, but not before the secondary, which has to wait for it at a takeover, has been told.

use alloc::collections::VecDeque;

use ftlog::Position;

use crate::Config;

/// Batches whose time is kept; of more than that the oldest are forgotten, which makes the lease shorter.
const MAX_BATCHES: usize = 1 << 16;
/// How many round trips it lasts.
const ROUND_TRIPS: u64 = 4;
/// However slow the way is, a takeover waits for it: it never gets longer than this, in ns.
const MAX_LEASE_NS: u64 = 10_000_000_000;

/// What may be written when.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Lease {
    /// What counts; the secondary knows it.
    lease_ns: u64,
    /// What it will be once log after this position is acknowledged, since the secondary was told before that.
    told: Option<(u64, Position)>,
    /// What it should be.
    wanted_ns: u64,
    sent: VecDeque<(Position, u64)>,
    last_sent: Position,
    /// A write waits for the secondary to be heard.
    write_waits: bool,
    /// The guest was asked for log that can be acknowledged.
    asked: bool,
}

impl Lease {
    pub(super) fn new(config: &Config) -> Self {
        let lease_ns = config.lease_ns();
        Self {
            lease_ns,
            told: None,
            wanted_ns: lease_ns,
            sent: VecDeque::new(),
            last_sent: Position(0),
            write_waits: false,
            asked: false,
        }
    }

    /// Log up to `through` is sent at `now_ns`.
    pub(super) fn sent(&mut self, through: Position, now_ns: u64) {
        if self.sent.len() == MAX_BATCHES {
            self.sent.pop_front();
        }
        self.sent.push_back((through, now_ns));
        self.last_sent = through;
        self.asked = false;
    }

    /// The secondary acknowledges log up to `through`: gives until when writes may pass, if that is news.
    pub(super) fn acknowledged(&mut self, through: Position, now_ns: u64) -> Option<u64> {
        let mut sent_ns = None;
        while let Some((_, ns)) = self.sent.pop_front_if(|(last, _)| *last <= through) {
            sent_ns = Some(ns);
        }
        let sent_ns = sent_ns?;
        if let Some((lease_ns, _)) = self.told.take_if(|(_, after)| through > *after) {
            self.lease_ns = lease_ns;
        }
        let round_trips_ns = now_ns.saturating_sub(sent_ns).saturating_mul(ROUND_TRIPS);
        self.wanted_ns = self.wanted_ns.max(round_trips_ns.min(MAX_LEASE_NS));
        self.write_waits = false;
        Some(sent_ns.saturating_add(self.lease_ns))
    }

    /// The secondary is to be told that it gets longer.
    pub(super) fn has_news(&self) -> bool {
        self.wanted_ns > self.told.map_or(self.lease_ns, |(lease_ns, _)| lease_ns)
    }

    /// What the secondary is to be told with the heartbeat that goes out now, in ns.
    pub(super) fn tell(&mut self) -> u64 {
        if self.has_news() {
            self.told = Some((self.wanted_ns, self.last_sent));
        }
        self.told.map_or(self.lease_ns, |(lease_ns, _)| lease_ns)
    }

    /// A write was turned back, or was not. True if the guest is to be woken for log that can be acknowledged: an idle
    /// one makes none. It is asked once, and again only after some log was sent.
    pub(super) fn asks(&mut self, write_waits: bool) -> bool {
        self.write_waits |= write_waits;
        let asks = self.write_waits && !self.asked && self.sent.is_empty();
        self.asked |= asks;
        asks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn lease() -> Lease {
        Lease::new(&Config { failure_timeout_ns: 200 * MS, ..Config::default() })
    }

    #[test]
    fn an_acknowledgement_is_as_old_as_the_log_that_it_is_for() {
        let mut lease = lease();
        for (last, ns) in [(5, 100), (8, 200), (9, 300)] {
            lease.sent(Position(last), ns);
        }
        assert_eq!(lease.acknowledged(Position(4), 400), None);
        assert_eq!(lease.acknowledged(Position(8), 400), Some(200 + 100 * MS));
        assert_eq!(lease.acknowledged(Position(8), 400), None);
        assert_eq!(lease.acknowledged(Position(12), 400), Some(300 + 100 * MS));
    }

    #[test]
    fn times_that_are_forgotten_make_it_shorter() {
        let mut lease = lease();
        for n in 0..MAX_BATCHES as u64 + 3 {
            lease.sent(Position(n), n);
        }
        assert_eq!(lease.acknowledged(Position(2), 0), None);
        assert_eq!(lease.acknowledged(Position(5), 0), Some(5 + 100 * MS));
    }

    #[test]
    fn a_slow_way_makes_it_longer_once_the_secondary_knows() {
        let mut lease = lease();
        lease.sent(Position(1), 0);
        lease.sent(Position(2), 10 * MS);
        assert_eq!(lease.acknowledged(Position(1), 120 * MS), Some(100 * MS), "it has passed already");
        assert_eq!(lease.tell(), 480 * MS);
        lease.sent(Position(3), 130 * MS);
        let before = lease.acknowledged(Position(2), 130 * MS);
        assert_eq!(before, Some(110 * MS), "it may not have known by then");
        assert_eq!(lease.acknowledged(Position(3), 250 * MS), Some(610 * MS));
        assert_eq!(lease.tell(), 480 * MS, "it never gets shorter");
    }

    #[test]
    fn the_guest_is_asked_once_for_log_until_some_was_sent() {
        let mut lease = lease();
        assert!(!lease.asks(false));
        assert!(lease.asks(true) && !lease.asks(true) && !lease.asks(false));
        lease.sent(Position(1), 5);
        assert!(!lease.asks(false), "its acknowledgement is on the way");
        lease.acknowledged(Position(1), 7);
        assert!(!lease.asks(false), "nothing waits");
        assert!(lease.asks(true));
    }
}
