//! What only a heartbeat says, and when it was said last.

use ftlog::{Health, Position};

/// What only a heartbeat says, beside the lease.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct News {
    pub(super) released: Position,
    pub(super) stalled_ns: u64,
    pub(super) health: Health,
}

/// What the peer knows.
#[derive(Debug)]
pub(super) struct Told {
    news: News,
    at_ns: u64,
}

impl Told {
    /// Nothing yet.
    pub(super) fn new(now_ns: u64) -> Self {
        Self { news: News::default(), at_ns: now_ns }
    }

    /// It is told this.
    pub(super) fn tell(&mut self, news: News, now_ns: u64) {
        (self.news, self.at_ns) = (news, now_ns);
    }

    /// This is to be said now, as it is new and nothing was said for so long.
    pub(super) fn is_due(&self, news: News, lease_is_news: bool, now_ns: u64, heartbeat_ns: u64) -> bool {
        let lately = now_ns.saturating_sub(self.at_ns) < heartbeat_ns;
        !lately && (lease_is_news || news != self.news)
    }
}
