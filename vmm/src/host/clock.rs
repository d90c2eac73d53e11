//! Host clocks, and the virtual clock that a live machine derives from them.

use rustix::time::{ClockId, clock_gettime};

/// Time since this host was started, ns, with the time in which it was suspended: what a lease is measured in, as the other
/// side's clock goes on meanwhile. A host that its own hypervisor has stopped does not know of it by any clock.
pub fn boot_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The same without the time in which it was suspended, in which no guest runs.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Unix time, ns.
pub fn wall_ns() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Virtual time of a live machine: goes on from a given value at the pace of the host's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct VirtualClock {
    virtual_base_ns: u64,
    host_base_ns: u64,
}

impl VirtualClock {
    /// A clock that reads `virtual_ns` now.
    pub fn starting_at(virtual_ns: u64) -> Self {
        Self { virtual_base_ns: virtual_ns, host_base_ns: monotonic_ns() }
    }

    /// Virtual time, ns.
    pub fn now_ns(&self) -> u64 {
        self.virtual_base_ns + (monotonic_ns() - self.host_base_ns)
    }

    /// How long until virtual time `deadline_ns`, ns; 0 when it has passed.
    pub fn until_ns(&self, deadline_ns: u64) -> u64 {
        deadline_ns.saturating_sub(self.now_ns())
    }
}
