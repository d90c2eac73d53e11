//! The watchdog of a replayed stretch: a guest that should have come to a sync point and computes on is stopped.
//!
//! A replayed guest that was told another deadline than the one it exited at when it was recorded (the log was changed,
//! or the execution is another) may never exit again. How long it may run is measured by how long the recorded guest
//! ran, and in CPU time of the thread, so that a replaying host that is slow, busy or suspended does not count.

use std::{
    cell::RefCell,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    host::reserve::{self, Handle},
    shutdown::VcpuThread,
};

/// What every stretch may take, however short it was when it was recorded.
const GRACE: Duration = Duration::from_secs(10);
/// How many times slower than the recording a replay may be.
const SLOWNESS: u64 = 20;
/// How often the watchdog looks.
const INTERVAL: Duration = Duration::from_secs(1);

thread_local! {
    /// This thread's watchdog. It belongs to the thread as the signal does that interrupts KVM_RUN, and ends with it.
    static WATCHDOG: RefCell<Option<Watchdog>> = const { RefCell::new(None) };
}

/// Interrupts the thread that made it when a stretch takes long.
struct Watchdog {
    /// Odd while a stretch is being run; each stretch has its own number.
    stretch: Arc<AtomicU64>,
    end: Option<Sender<()>>,
    thread: Option<Handle<()>>,
}

/// A stretch that is being run under this thread's watchdog.
pub struct Watched {
    stretch: Arc<AtomicU64>,
    allowed: Duration,
    /// The thread's CPU time when the guest was first interrupted.
    since: Option<Duration>,
}

impl Watched {
    /// A stretch begins that took `recorded_ns` of virtual time.
    pub fn begin(recorded_ns: u64) -> io::Result<Self> {
        let stretch = WATCHDOG.with_borrow_mut(|watchdog| match watchdog {
            Some(watchdog) => Ok(watchdog.stretch.clone()),
            None => Watchdog::start().map(|started| watchdog.insert(started).stretch.clone()),
        })?;
        stretch.fetch_add(1, Ordering::Relaxed);
        let allowed = GRACE + Duration::from_nanos(recorded_ns.saturating_mul(SLOWNESS));
        Ok(Self { stretch, allowed, since: None })
    }

    /// The guest was interrupted: the CPU time it has had, if that is more than the stretch may take.
    pub fn overdue(&mut self) -> Option<Duration> {
        let now = thread_cpu_time();
        let taken = now.saturating_sub(*self.since.get_or_insert(now));
        (taken > self.allowed).then_some(taken)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stretch.fetch_add(1, Ordering::Relaxed);
    }
}

impl Watchdog {
    fn start() -> io::Result<Self> {
        let stretch = Arc::new(AtomicU64::new(0));
        let (end, ended) = mpsc::channel();
        let (watched, vcpu) = (stretch.clone(), VcpuThread::current()?);
        let thread = reserve::spawn("watchdog", move || {
            let mut before = 0;
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let now = watched.load(Ordering::Relaxed);
                if now == before && now % 2 == 1 {
                    vcpu.kick();
                }
                before = now;
            }
        })?;
        Ok(Self { stretch, end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn thread_cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
