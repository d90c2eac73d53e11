//! The watchdog of a replayed stretch: a guest that should have come to a sync point and computes on is stopped.
//!
//! A replayed guest that was told another deadline than the one it exited at when it was recorded (the log was changed,
//! or the execution is another) may never exit again. How long it may run is measured by how long the recorded guest
//! ran, and in CPU time of the thread, so that a replaying host that is slow, busy or suspended does not count.

use std::{cell::RefCell, io, mem, ptr, time::Duration};

use machine::VcpuThread;
use rustix::time::{ClockId, clock_gettime};

/// What every stretch may take, however short it was when it was recorded.
const GRACE: Duration = Duration::from_secs(10);
/// How many times slower than the recording a replay may be.
const SLOWNESS: u64 = 20;
/// After how much CPU time of the thread its guest is interrupted for a look, again and again, s.
const INTERVAL_S: i64 = 1;

thread_local! {
    /// This thread's alarm. It belongs to the thread as the signal does that interrupts KVM_RUN, and ends with it.
    static ALARM: RefCell<Option<Alarm>> = const { RefCell::new(None) };
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
                *alarm = Some(Alarm::start()?);
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

/// A timer of the kernel's that counts the CPU time of the thread which made it, and interrupts its guest.
struct Alarm(libc::timer_t);

impl Alarm {
    #[allow(unsafe_code)]
    fn start() -> io::Result<Self> {
        let thread = VcpuThread::current()?;
        let interval = libc::timespec { tv_sec: INTERVAL_S, tv_nsec: 0 };
        let every = libc::itimerspec { it_interval: interval, it_value: interval };
        // SAFETY: zero is a valid value of each field of this plain structure.
        let mut event: libc::sigevent = unsafe { mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = VcpuThread::SIGNAL;
        event.sigev_notify_thread_id = thread.id();
        let mut timer = ptr::null_mut();
        // SAFETY: both pointers are to values that outlive the call; the signal has a handler, as `current` has seen to.
        if unsafe { libc::timer_create(libc::CLOCK_THREAD_CPUTIME_ID, &mut event, &mut timer) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let alarm = Self(timer);
        // SAFETY: the timer was made above, and `every` outlives the call.
        if unsafe { libc::timer_settime(alarm.0, 0, &every, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(alarm)
    }
}

impl Drop for Alarm {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the timer is ours and is not used after this.
        unsafe { libc::timer_delete(self.0) };
    }
}

fn thread_cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
