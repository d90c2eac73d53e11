//! How long something may wait for a guest that computes.
//!
//! What waits rings the doorbell, and a guest that enters its kernel hears it. One that does not is interrupted every so
//! often, and where the bell has been ringing for too long by then, it is forced to stop where it is.

use std::{io, time::Duration};

use machine::{KickTimer, Machine};
use rustix::time::{ClockId, clock_gettime};

/// How many times longer a guest with interrupts off is left alone, as most of what could be told it would have to wait on.
const WITH_INTERRUPTS_OFF: u32 = 10;

/// Of the thread that made it.
pub struct Patience {
    patience: Duration,
    _timer: KickTimer,
    /// The thread's CPU time when the bell was first found ringing in this stretch.
    since: Option<Duration>,
    /// CPU time that it took to force the guest to stop the last time.
    stood: Duration,
}

impl Patience {
    /// It ends after about so long, and not before half of that.
    ///
    /// # Errors
    /// The host has no timer for it.
    pub fn of(patience: Duration) -> io::Result<Self> {
        // By its CPU time: a guest that has nothing to do is not disturbed.
        let timer = KickTimer::on_cpu_time()?;
        timer.set(patience / 2)?;
        Ok(Self { patience, _timer: timer, since: None, stood: Duration::ZERO })
    }

    /// The guest has come to a position.
    pub fn begin(&mut self) {
        self.since = None;
    }

    /// It took `work` to have the guest stop where it is.
    pub fn counting<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = thread_cpu_time();
        let done = work();
        self.stood = thread_cpu_time().saturating_sub(begun);
        done
    }

    /// The guest was interrupted: whether something has waited for too long.
    pub fn is_over(&mut self, machine: &mut Machine) -> bool {
        if !machine.doorbell().is_ringing() {
            self.since = None;
            return false;
        }
        let now = thread_cpu_time();
        let waited = now.saturating_sub(*self.since.get_or_insert(now));
        let patience = match machine.has_interrupts_on() {
            // A guest that it costs much to stop is to run for as long as it stands.
            true => self.stood.max(self.patience / 2),
            false => self.patience * WITH_INTERRUPTS_OFF,
        };
        waited >= patience
    }
}

/// CPU time that the calling thread has had.
pub fn thread_cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
