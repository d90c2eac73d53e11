//! Who may write a shared disk, and until when.
//!
//! The commit gate lets a write out when the secondary holds the log behind it. But a primary that is stopped for a
//! while, with a released write in its hands, may wake up when the VM is live elsewhere, and a write that comes to
//! the file then destroys what the VM has written since. So a released write is carried out only for a time, the
//! *lease*, after the log that the secondary acknowledged *was sent*: as old as the acknowledgement may be when it
//! is read, at that moment the secondary had not taken over. And the secondary, when it does, leaves the file alone
//! for [longer than that](takeover_wait_ns) after it last heard of the primary, which has told it its lease.
//!
//! What is left to the storage: a write that the host has accepted and carries out much later.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The longest lease that a primary can have, in ns: that of the longest failure timeout, which is an hour. One that
/// says more would keep whoever takes over from its disks.
pub const LONGEST_LEASE_NS: u64 = 1_800_000_000_000;

/// How long after the last sign of life of its primary, whose lease was `lease_ns`, a new live side leaves shared disks
/// alone, ns. The difference is for the write that passed the fence at the last moment, and for clocks that do not run
/// alike.
pub const fn takeover_wait_ns(lease_ns: u64) -> u64 {
    lease_ns.saturating_add(lease_ns / 2)
}

/// Whether a write may be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Now.
    Yes,
    /// From this time on, ns of this host's clock.
    From(u64),
    /// Once the secondary has said again that it follows.
    Wait,
    /// Never.
    No,
}

/// The fence before the shared disks of a VM. All times are those of this host's clock, in ns.
#[derive(Debug)]
pub struct Fence {
    from_ns: AtomicU64,
    until_ns: AtomicU64,
    shut: AtomicBool,
    /// A write was turned back since this was last asked.
    wanted: AtomicBool,
}

impl Default for Fence {
    /// An open fence: whether the VM may run at all is for others to say.
    fn default() -> Self {
        Self {
            from_ns: AtomicU64::new(0),
            until_ns: AtomicU64::new(u64::MAX),
            shut: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
        }
    }
}

impl Fence {
    /// Whether a write may be carried out now.
    pub fn verdict(&self, now_ns: u64) -> Verdict {
        let from_ns = self.from_ns.load(Ordering::Acquire);
        if self.shut.load(Ordering::Acquire) {
            Verdict::No
        } else if now_ns < from_ns {
            Verdict::From(from_ns)
        } else if self.is_leased(now_ns) {
            Verdict::Yes
        } else {
            self.wanted.store(true, Ordering::SeqCst);
            // Once more: whoever has extended it in between may have found nothing wanted.
            if self.is_leased(now_ns) { Verdict::Yes } else { Verdict::Wait }
        }
    }

    fn is_leased(&self, now_ns: u64) -> bool {
        now_ns < self.until_ns.load(Ordering::SeqCst)
    }

    /// Nobody else can be the live side: no limit from now on.
    pub fn open(&self) {
        self.until_ns.store(u64::MAX, Ordering::Release);
    }

    /// There is a secondary from now on, which could become the live side.
    pub fn close(&self) {
        self.until_ns.store(0, Ordering::Release);
    }

    /// The secondary has answered lately: writes pass until then.
    pub fn extend(&self, through_ns: u64) {
        let extend = |until_ns: u64| (until_ns != u64::MAX).then(|| until_ns.max(through_ns));
        let _ = self.until_ns.fetch_update(Ordering::SeqCst, Ordering::SeqCst, extend);
    }

    /// This side is live, but until then the primary it took over from might still write.
    pub fn open_from(&self, from_ns: u64) {
        self.from_ns.store(from_ns, Ordering::Release);
        self.open();
    }

    /// Nothing may be written any more, ever.
    pub fn shut(&self) {
        self.shut.store(true, Ordering::Release);
    }

    /// Whether a write waits for a sign of life of the secondary.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// The same; what waited by now is reckoned with.
    pub fn take_wanted(&self) -> bool {
        self.wanted.swap(false, Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_passes_for_as_long_as_the_secondary_has_answered_lately() {
        let fence = Fence::default();
        assert_eq!(fence.verdict(5), Verdict::Yes);
        fence.extend(7);
        assert_eq!(fence.verdict(u64::MAX - 1), Verdict::Yes, "an open fence has no end");
        fence.close();
        assert!(!fence.take_wanted());
        assert_eq!(fence.verdict(5), Verdict::Wait);
        assert!(fence.is_wanted() && fence.take_wanted() && !fence.take_wanted());
        fence.extend(1000);
        fence.extend(900);
        assert_eq!(fence.verdict(999), Verdict::Yes);
        assert_eq!(fence.verdict(1000), Verdict::Wait);
        fence.open();
        assert_eq!(fence.verdict(1000), Verdict::Yes);
    }

    #[test]
    fn the_new_live_side_waits_for_longer_than_the_old_one_may_write() {
        let (old, new, lease_ns) = (Fence::default(), Fence::default(), 100);
        old.close();
        old.extend(1000 + lease_ns);
        let from_ns = 1000 + takeover_wait_ns(lease_ns);
        new.open_from(from_ns);
        for now_ns in 1000..from_ns {
            assert_eq!(new.verdict(now_ns), Verdict::From(from_ns));
        }
        assert_eq!((old.verdict(from_ns), new.verdict(from_ns)), (Verdict::Wait, Verdict::Yes));
        assert_eq!(takeover_wait_ns(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_shut_fence_stays_shut() {
        let fence = Fence::default();
        fence.shut();
        fence.open();
        fence.extend(5);
        assert_eq!(fence.verdict(1), Verdict::No);
    }
}
