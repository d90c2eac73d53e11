//! How often the secondary has diverged lately.
//!
//! One that diverged is thrown away and seeded again, which heals what was an accident. What comes back is none: a host
//! that computes wrongly, or a guest that cannot be repeated. Each new seed then costs the guest, says "protected" of what
//! is not, and hides what somebody should look at.

use alloc::collections::VecDeque;

use crate::primary::Link;

/// How many in [`LATELY_NS`] are healed: with one more nobody is there to be trusted.
const MOST: usize = 3;
/// Longer than it takes from a seed to the next divergence when its cause is in what the guest does all the time, and short
/// enough that accidents of different days do not add up, ns.
const LATELY_NS: u64 = 600_000_000_000;

/// The latest divergences.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub(super) struct Divergences {
    /// When they were, ns; no more of them than would be too many.
    at_ns: VecDeque<u64>,
    /// Whose the last one was.
    last: Option<Link>,
}

impl Divergences {
    /// This peer has diverged. It does so once, however often it says so.
    pub(super) fn add(&mut self, link: Link, now_ns: u64) {
        if self.last.replace(link) == Some(link) {
            return;
        }
        if self.at_ns.len() > MOST {
            self.at_ns.pop_front();
        }
        self.at_ns.push_back(now_ns);
    }

    /// How many there were lately, if it is too many and this peer's the last.
    pub(super) fn too_many(&self, link: Link) -> Option<usize> {
        let (first, last) = (self.at_ns.front()?, self.at_ns.back()?);
        let too_many = self.at_ns.len() > MOST && last - first <= LATELY_NS && self.last == Some(link);
        too_many.then_some(self.at_ns.len())
    }
}
