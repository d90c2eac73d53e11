//! The deadline page: one page beside the guest's RAM that the monitor writes and the guest can only read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use vm_memory::{MmapRegion, VolatileMemory};

use super::{MemoryError, PAGE_SIZE};

/// Guest-physical address of the page; it is no RAM, and no digest and no seed has it.
pub const DEADLINE_PAGE: u64 = 0xcfff_f000;
/// The port by which a guest says that its count of kernel entries is the deadline.
pub const ENTRY_CLOCK_PORT: u16 = 0x550;

/// No kernel entry has this count.
const NEVER: u64 = u64::MAX;

/// The `deadline` of the kernel-entry clock, the page's first eight bytes: at the kernel entry of which it is the count, or at
/// any while it is 0, the guest makes a VM exit. Clones write the same page, from any thread, at any time.
#[derive(Clone)]
pub struct Doorbell {
    page: Arc<MmapRegion>,
    /// When it began to ring, ns of the host's monotonic clock. Not in the page: a guest must not see that.
    rung_ns: Arc<AtomicU64>,
}

impl Doorbell {
    /// A page whose deadline never comes.
    pub fn new() -> Result<Self, MemoryError> {
        let page = MmapRegion::new(PAGE_SIZE).map_err(|error| MemoryError::Page(error.to_string()))?;
        let doorbell = Self { page: Arc::new(page), rung_ns: Arc::default() };
        doorbell.reset();
        Ok(doorbell)
    }

    /// The guest is to exit at its next kernel entry.
    pub fn ring(&self) {
        if !self.is_ringing() {
            self.rung_ns.store(monotonic().as_nanos() as u64, Ordering::Relaxed);
        }
        self.set(0);
    }

    /// The guest is to go on.
    pub fn reset(&self) {
        self.set(NEVER);
    }

    /// The guest is to exit at kernel entry `entries`.
    pub fn set(&self, entries: u64) {
        // Release: what was put down for the guest before the bell was rung is there when its exit has come.
        self.deadline().store(entries, Ordering::Release);
    }

    /// The page in this process.
    pub(crate) fn host_address(&self) -> u64 {
        self.page.as_ptr() as u64
    }

    fn deadline(&self) -> &AtomicU64 {
        self.page.get_atomic_ref(0).expect("a page holds a number at its start")
    }

    /// Since when the guest has been to exit at its next kernel entry, by the host's monotonic clock; `None` if it may go on.
    #[must_use]
    pub fn ringing_since(&self) -> Option<Duration> {
        self.is_ringing().then(|| Duration::from_nanos(self.rung_ns.load(Ordering::Relaxed)))
    }

    /// For how long it has been.
    #[must_use]
    pub fn ringing_for(&self) -> Option<Duration> {
        self.ringing_since().map(|since| monotonic().saturating_sub(since))
    }

    /// Whether the guest is to exit at its next kernel entry.
    #[must_use]
    pub fn is_ringing(&self) -> bool {
        self.deadline().load(Ordering::Acquire) == 0
    }
}

/// The host's monotonic clock.
fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_write_the_same_page() {
        let doorbell = Doorbell::new().unwrap();
        let other = doorbell.clone();
        assert!(!doorbell.is_ringing());
        other.ring();
        assert!(doorbell.is_ringing());
        doorbell.reset();
        assert!(!other.is_ringing());
    }

    #[test]
    fn it_tells_for_how_long_it_has_been_ringing() {
        let doorbell = Doorbell::new().unwrap();
        assert_eq!(doorbell.ringing_for(), None);
        doorbell.ring();
        std::thread::sleep(Duration::from_millis(5));
        // What else comes meanwhile does not begin the wait anew.
        doorbell.clone().ring();
        assert!(doorbell.ringing_for().unwrap() >= Duration::from_millis(5));
        doorbell.set(7);
        assert_eq!(doorbell.ringing_for(), None);
        let again = std::time::Instant::now();
        doorbell.ring();
        assert!(doorbell.ringing_for().unwrap() <= again.elapsed());
    }
}
