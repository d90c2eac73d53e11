//! How long something may wait for a guest that computes.
//!
//! What waits rings the doorbell, and a guest that enters its kernel hears it. One that does not is interrupted every so
//! often of its CPU time, and where the bell is ringing by then, once more when it has been ringing for too long: there it is
//! forced to stop.

use std::{io, time::Duration};

use machine::{KickTimer, Machine};
use rustix::time::{ClockId, clock_gettime};

/// How many times longer a guest with interrupts off is left alone, as most of what could be told it would have to wait on.
const WITH_INTERRUPTS_OFF: u32 = 10;
/// CPU time in which a guest that enters its kernel at all comes to hear the bell. On a host that has other things to do, it
/// may not have run at all since that was rung.
const TO_HEAR: Duration = Duration::from_millis(1);

/// Of the thread that made it.
pub struct Patience {
    patience: Duration,
    /// By CPU time: a guest that has nothing to do is not disturbed.
    _looks: KickTimer,
    /// For the moment at which it is over.
    over: KickTimer,
    /// The bell was found ringing: since when it was, and the thread's CPU time then.
    found: (Duration, Duration),
    /// The guest was forced to stop the last time: the thread's CPU time then, and what of it that took.
    went_on: Duration,
    stood: Duration,
}

impl Patience {
    /// It ends when the bell has been ringing for so long, or a tick or two of the host later.
    ///
    /// # Errors
    /// The host has no timers for it.
    pub fn of(patience: Duration) -> io::Result<Self> {
        let looks = KickTimer::on_cpu_time()?;
        looks.set(patience / 2)?;
        let over = KickTimer::on_time()?;
        let (found, went_on, stood) = Default::default();
        Ok(Self { patience, _looks: looks, over, found, went_on, stood })
    }

    /// It takes `work` to have the guest stop where it is, if it can be now.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn counting<T>(
        &mut self,
        work: impl FnOnce() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<Option<T>> {
        let begun = thread_cpu_time();
        let stopped = work()?;
        if stopped.is_some() {
            self.went_on = thread_cpu_time();
            self.stood = self.went_on.saturating_sub(begun);
        }
        Ok(stopped)
    }

    /// The guest was interrupted: whether something has waited for too long.
    ///
    /// # Errors
    /// A timer of the host's fails.
    pub fn is_over(&mut self, machine: &mut Machine) -> io::Result<bool> {
        let Some(since) = machine.doorbell().ringing_since() else { return Ok(false) };
        if self.found.0 != since {
            self.found = (since, thread_cpu_time());
        }
        let waited = machine.doorbell().ringing_for().unwrap_or_default();
        let patience = match machine.has_interrupts_on() {
            true => self.patience,
            false => self.patience * WITH_INTERRUPTS_OFF,
        };
        let left = patience.saturating_sub(waited).max(self.owed());
        if !left.is_zero() {
            self.over.set_once(left)?;
        }
        Ok(left.is_zero())
    }

    /// CPU time that the guest is to have first: where others take the processor too, or it costs much to stop it, it would
    /// come to nothing else.
    fn owed(&self) -> Duration {
        let now = thread_cpu_time();
        let after = |moment: Duration, owed: Duration| (moment + owed).saturating_sub(now);
        after(self.went_on, self.stood.max(self.patience / 2)).max(after(self.found.1, TO_HEAR))
    }
}

/// CPU time that the calling thread has had.
pub fn thread_cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
