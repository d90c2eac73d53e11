//! Whether a thread that has something to do does anything.

use crate::Config;

/// Watches one thread: the one that executes the guest, or one that writes its disks.
///
/// As with silence on a connection, only time in which this process looks counts: one that was itself stopped for a
/// minute finds its threads where they were.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stall {
    heartbeat_ns: u64,
    looked_ns: u64,
    progress: u64,
    stalled_ns: u64,
}

impl Stall {
    /// The thread is well.
    #[must_use]
    pub fn new(config: &Config, now_ns: u64) -> Self {
        Self { heartbeat_ns: config.heartbeat_ns(), looked_ns: now_ns, progress: 0, stalled_ns: 0 }
    }

    /// Looks at the thread, which is `busy` if it has something to do; `progress` is anything that grows while it does
    /// it. Due at every tick.
    pub fn look(&mut self, busy: bool, progress: u64, now_ns: u64) {
        let passed_ns = now_ns.saturating_sub(self.looked_ns).min(self.heartbeat_ns);
        self.looked_ns = now_ns;
        let moves = !busy || progress != self.progress;
        self.progress = progress;
        self.stalled_ns = if moves { 0 } else { self.stalled_ns.saturating_add(passed_ns) };
    }

    /// It has done nothing for so long that it is likely to be stuck, though nobody counts it as lost yet.
    #[must_use]
    pub fn is_likely_stuck(&self, config: &Config) -> bool {
        self.stalled_ns > config.stall_ns() / 2
    }

    /// For how long it has had something to do and done nothing, in ns.
    #[must_use]
    pub fn stalled_ns(&self) -> u64 {
        self.stalled_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn only_work_that_does_not_move_counts() {
        let mut stall = Stall::new(&Config::default(), 0);
        let mut look = |busy, progress, ms| {
            stall.look(busy, progress, ms * MS);
            stall.stalled_ns() / MS
        };
        assert_eq!(look(true, 1, 50), 0);
        assert_eq!(look(true, 1, 90), 40);
        assert_eq!(look(true, 1, 130), 80);
        assert_eq!(look(true, 2, 170), 0, "it moved");
        assert_eq!(look(false, 2, 210), 0, "nothing to do");
        assert_eq!(look(true, 2, 250), 40);
        assert_eq!(look(true, 2, 60_250), 90, "this process did not look for a minute");
    }
}
