//! The alarm: it rings the doorbell when the guest's next timer is due while the guest runs.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use machine::memory::Doorbell;
use rustix::{
    io::Errno,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

use crate::host::{
    clock::{VirtualClock, monotonic_ns},
    reserve::{self, Handle},
};

const NEVER: u64 = u64::MAX;

/// Times on the host's monotonic clock, ns.
struct Times {
    /// When the bell is to be rung.
    due_ns: u64,
    /// When the thread wakes up: never after `due_ns`. It may be before, because a guest that keeps putting its
    /// timer off is not worth a system call each time.
    wakes_ns: u64,
    ended: bool,
}

/// The timer of an alarm. It is made before, so that an alarm needs no descriptor when it is started.
#[derive(Clone)]
pub struct Timer(Arc<OwnedFd>);

impl Timer {
    /// One that is not set.
    ///
    /// # Errors
    /// The host has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?)))
    }
}

struct Shared {
    doorbell: Doorbell,
    timer: Timer,
    times: Mutex<Times>,
}

/// A thread that rings in time, until it is dropped.
pub struct Alarm {
    shared: Arc<Shared>,
    thread: Option<Handle<()>>,
    /// The deadline, virtual ns, that it was last set to.
    set_to: Option<u64>,
}

impl Alarm {
    /// An alarm that is not set, and the only one with this timer.
    pub fn start(timer: Timer, doorbell: Doorbell) -> io::Result<Self> {
        let times = Mutex::new(Times { due_ns: NEVER, wakes_ns: NEVER, ended: false });
        let shared = Arc::new(Shared { doorbell, timer, times });
        let ringer = shared.clone();
        let body = move || {
            if let Err(error) = ringer.run() {
                tracing::error!(%error, "the alarm failed; the guest's timers wait for its next exit");
            }
        };
        let thread = reserve::spawn("alarm", body)?;
        Ok(Self { shared, thread: Some(thread), set_to: None })
    }

    /// Rings at virtual time `deadline_ns`, in place of what was set before; at once if that has passed. `None` is
    /// for a guest that waits for no timer, and for one that does not run.
    pub fn set(&mut self, deadline_ns: Option<u64>, clock: &VirtualClock) -> io::Result<()> {
        if deadline_ns == self.set_to {
            return Ok(());
        }
        self.set_to = deadline_ns;
        let left_ns = deadline_ns.map(|deadline_ns| clock.until_ns(deadline_ns));
        let mut times = self.shared.lock();
        times.due_ns = NEVER;
        match left_ns {
            None => Ok(()),
            Some(0) => {
                self.shared.doorbell.ring();
                Ok(())
            }
            Some(left_ns) => {
                times.due_ns = monotonic_ns().saturating_add(left_ns);
                self.shared.wake_for(&mut times)
            }
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let mut times = self.shared.lock();
        times.ended = true;
        // The earliest time there is: the thread wakes up now.
        times.due_ns = 1;
        let woken = self.shared.wake_for(&mut times);
        drop(times);
        if let (Ok(()), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the thread wake up when the bell is due, if it would wake up later.
    fn wake_for(&self, times: &mut Times) -> io::Result<()> {
        if times.due_ns >= times.wakes_ns {
            return Ok(());
        }
        times.wakes_ns = times.due_ns;
        let at = Timespec {
            tv_sec: (times.due_ns / 1_000_000_000) as i64,
            tv_nsec: (times.due_ns % 1_000_000_000) as i64,
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        timerfd_settime(&self.timer.0, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }

    fn run(&self) -> io::Result<()> {
        let mut expirations = [0; 8];
        loop {
            match rustix::io::read(&self.timer.0, &mut expirations) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let mut times = self.lock();
            if times.ended {
                return Ok(());
            }
            times.wakes_ns = NEVER;
            if times.due_ns <= monotonic_ns() {
                times.due_ns = NEVER;
                self.doorbell.ring();
            } else {
                self.wake_for(&mut times)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    const SOON_NS: u64 = 20_000_000;
    const PATIENCE: Duration = Duration::from_secs(20);

    fn wait_for_the_bell(doorbell: &Doorbell) {
        let start = Instant::now();
        while !doorbell.is_ringing() {
            assert!(start.elapsed() < PATIENCE, "it does not ring");
            thread::yield_now();
        }
    }

    #[test]
    fn it_rings_when_a_timer_is_due_and_not_before() {
        let doorbell = Doorbell::new().unwrap();
        let mut alarm = Alarm::start(Timer::new().unwrap(), doorbell.clone()).unwrap();
        let clock = VirtualClock::starting_at(1_000);
        for round in 1..4 {
            doorbell.reset();
            // The thread wakes up for the first of the two and finds that it was put off.
            let deadline_ns = clock.now_ns() + SOON_NS;
            alarm.set(Some(deadline_ns - SOON_NS / 2), &clock).unwrap();
            alarm.set(Some(deadline_ns), &clock).unwrap();
            wait_for_the_bell(&doorbell);
            assert!(clock.now_ns() >= deadline_ns, "round {round}");
        }
    }

    #[test]
    fn a_deadline_that_has_passed_rings_at_once_and_one_that_was_taken_back_never() {
        let doorbell = Doorbell::new().unwrap();
        let mut alarm = Alarm::start(Timer::new().unwrap(), doorbell.clone()).unwrap();
        let clock = VirtualClock::starting_at(1_000);
        alarm.set(Some(500), &clock).unwrap();
        assert!(doorbell.is_ringing());
        doorbell.reset();
        alarm.set(Some(clock.now_ns() + SOON_NS), &clock).unwrap();
        alarm.set(None, &clock).unwrap();
        thread::sleep(Duration::from_nanos(2 * SOON_NS));
        assert!(!doorbell.is_ringing());
    }
}
