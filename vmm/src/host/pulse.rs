//! Signs that a thread moves, for another thread to look at.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering},
};

use rustix::thread::gettid;

/// CPU time counts in such pieces, ns: what a thread uses that waits, and looks now and then whether it still has to, is
/// no progress.
const CPU_GRAIN_NS: u64 = 10_000_000;

/// How a thread does. Clones are the same pulse: the thread keeps one and whoever watches it another.
///
/// What moves is counted in steps by the thread itself, and in CPU time by the kernel: a guest that computes for
/// minutes without an exit moves, one whose thread waits for a page or a file does not.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<State>);

#[derive(Debug, Default)]
struct State {
    thread: AtomicI32,
    busy: AtomicBool,
    steps: AtomicU64,
}

/// What was seen of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// It has something to do.
    pub busy: bool,
    /// Changes whenever it does something.
    pub progress: u64,
    /// Steps that it has counted.
    pub steps: u64,
}

impl Pulse {
    /// From now on it is the calling thread's.
    pub fn adopt(&self) {
        self.0.thread.store(gettid().as_raw_nonzero().get(), Ordering::Release);
    }

    /// The thread has something to do from now on, or waits for somebody to bring it something.
    pub fn set_busy(&self, busy: bool) {
        self.0.busy.store(busy, Ordering::Release);
    }

    /// The thread has done something.
    pub fn step(&self) {
        // One writer: no read-modify-write is needed on the path of every sync point.
        self.0.steps.store(self.0.steps.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }

    /// Looks at the thread. Cheap enough for every heartbeat, not for every step.
    #[must_use]
    pub fn beat(&self) -> Beat {
        let busy = self.0.busy.load(Ordering::Acquire);
        let steps = self.0.steps.load(Ordering::Acquire);
        // No need to ask the kernel for what cannot matter.
        let cpu_ns = if busy { cpu_ns(self.0.thread.load(Ordering::Acquire)) } else { 0 };
        Beat { busy, progress: steps.wrapping_add(cpu_ns / CPU_GRAIN_NS), steps }
    }
}

/// CPU time of a thread of this process, ns; 0 where it is gone.
fn cpu_ns(thread: i32) -> u64 {
    // The kernel's number for the scheduler's clock of one thread: the inverted thread id in the upper bits, "per
    // thread" (4) and "as the scheduler counts" (2) in the lower (clock_getcpuclockid(3); linux/posix-timers.h).
    let clock = (!thread << 3) | 6;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call, which writes nothing else.
    #[allow(unsafe_code)]
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    if result == 0 { time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::{hint, sync::mpsc, thread};

    use super::*;

    #[test]
    fn a_thread_that_computes_moves_and_one_that_waits_does_not() {
        let pulse = Pulse::default();
        let (go_on, gone_on) = mpsc::channel::<()>();
        let (waits, waiting) = mpsc::channel();
        let theirs = pulse.clone();
        let thread = thread::spawn(move || {
            theirs.adopt();
            theirs.set_busy(true);
            let before = theirs.beat().progress;
            while theirs.beat().progress == before {
                hint::spin_loop();
            }
            waits.send(()).unwrap();
            let _ = gone_on.recv();
            theirs.step();
        });
        waiting.recv().unwrap();
        // Until it has gone to sleep it may use a little more.
        let asleep = (0..1000).any(|_| {
            let before = pulse.beat();
            thread::yield_now();
            thread::sleep(std::time::Duration::from_millis(1));
            pulse.beat() == before
        });
        assert!(asleep && pulse.beat().busy);
        drop(go_on);
        thread.join().unwrap();
        pulse.set_busy(false);
        assert!(!pulse.beat().busy);
    }
}
