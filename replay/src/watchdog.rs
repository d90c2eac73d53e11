//! The watchdog of a replayed stretch: a guest that should have come to a sync point and computes on is stopped.
//!
//! A replayed guest that was told another deadline than the one it exited at when it was recorded (the log was changed,
//! or the execution is another) may never exit again. How long it may run is measured by how long the recorded guest
//! ran, and in CPU time of the thread, so that a replaying host that is slow, busy or suspended does not count.

use std::{cell::RefCell, io, time::Duration};

use machine::KickTimer;

use crate::patience::thread_cpu_time;

/// What every stretch may take, however short it was when it was recorded.
const GRACE: Duration = Duration::from_secs(10);
/// How many times slower than the recording a replay may be.
const SLOWNESS: u64 = 20;
/// After how much CPU time of the thread its guest is interrupted for a look, again and again.
const INTERVAL: Duration = Duration::from_secs(1);

thread_local! {
    /// This thread's alarm. It belongs to the thread as the signal does that interrupts KVM_RUN, and ends with it.
    static ALARM: RefCell<Option<KickTimer>> = const { RefCell::new(None) };
}

/// A stretch that is being run.
pub struct Watched {
    allowed: Duration,
    /// The thread's CPU time when the guest was first interrupted.
    since: Option<Duration>,
}

impl Watched {
    /// A stretch begins that took `recorded_ns` of virtual time.
    pub fn begin(recorded_ns: u64) -> io::Result<Self> {
        ALARM.with_borrow_mut(|alarm| {
            if alarm.is_none() {
                alarm.insert(KickTimer::on_cpu_time()?).set(INTERVAL)?;
            }
            io::Result::Ok(())
        })?;
        let allowed = GRACE + Duration::from_nanos(recorded_ns.saturating_mul(SLOWNESS));
        Ok(Self { allowed, since: None })
    }

    /// The guest was interrupted: the CPU time it has had, if that is more than the stretch may take.
    pub fn overdue(&mut self) -> Option<Duration> {
        let now = thread_cpu_time();
        let taken = now.saturating_sub(*self.since.get_or_insert(now));
        (taken > self.allowed).then_some(taken)
    }
}
