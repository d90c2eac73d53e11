//! The thread that runs a vCPU, and how others get it out of a guest that does not exit.

use std::{io, mem, ptr, time::Duration};

use rustix::thread::{Pid, gettid};
use signal_hook::consts::SIGUSR1;

/// The thread that runs the vCPU.
#[derive(Clone, Copy)]
pub struct VcpuThread(Pid);

impl VcpuThread {
    /// The signal that interrupts KVM_RUN.
    pub const SIGNAL: i32 = SIGUSR1;

    /// The calling thread.
    ///
    /// # Errors
    /// The host refuses a handler for [`VcpuThread::SIGNAL`].
    pub fn current() -> io::Result<Self> {
        // An empty handler: the signal is only to interrupt KVM_RUN.
        // SAFETY: the handler does nothing, which is async-signal-safe.
        #[allow(unsafe_code)]
        unsafe {
            signal_hook::low_level::register(Self::SIGNAL, || {})?;
        }
        Ok(Self(gettid()))
    }

    /// Its number on the host.
    #[must_use]
    pub fn id(self) -> i32 {
        self.0.as_raw_nonzero().get()
    }

    /// Interrupts KVM_RUN if the thread is in it; false when the thread is gone. A kick that comes just before KVM_RUN
    /// is lost, so it has to be repeated until it was heard.
    pub fn kick(self) -> bool {
        // SAFETY: tgkill takes plain numbers; a thread id that is gone makes it fail.
        #[allow(unsafe_code)]
        let result = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.id(), Self::SIGNAL) };
        result == 0
    }
}

/// A timer of the kernel's that kicks the thread which made it. It belongs to that thread, as the signal does.
pub struct KickTimer(libc::timer_t);

impl KickTimer {
    /// One that goes by the time that passes.
    ///
    /// # Errors
    /// The host has no timer left, or refuses a handler for [`VcpuThread::SIGNAL`].
    pub fn on_time() -> io::Result<Self> {
        Self::new(libc::CLOCK_MONOTONIC)
    }

    /// One that goes by the CPU time of the thread.
    ///
    /// # Errors
    /// As [`KickTimer::on_time`].
    pub fn on_cpu_time() -> io::Result<Self> {
        Self::new(libc::CLOCK_THREAD_CPUTIME_ID)
    }

    #[allow(unsafe_code)]
    fn new(clock: libc::clockid_t) -> io::Result<Self> {
        let thread = VcpuThread::current()?;
        // SAFETY: zero is a valid value of each field of this plain structure.
        let mut event: libc::sigevent = unsafe { mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = VcpuThread::SIGNAL;
        event.sigev_notify_thread_id = thread.id();
        let mut timer = ptr::null_mut();
        // SAFETY: both pointers are to values that outlive the call; the signal has a handler, as `current` has seen to.
        if unsafe { libc::timer_create(clock, &mut event, &mut timer) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(timer))
    }

    /// Kicks every so often from now on; never, if it is zero.
    ///
    /// # Errors
    /// The kernel refuses, which it does not for a timer that is there.
    pub fn set(&self, interval: Duration) -> io::Result<()> {
        self.arm(interval, interval)
    }

    /// Kicks once, after so long; never, if it is zero.
    ///
    /// # Errors
    /// As [`KickTimer::set`].
    pub fn set_once(&self, after: Duration) -> io::Result<()> {
        self.arm(after, Duration::ZERO)
    }

    #[allow(unsafe_code)]
    fn arm(&self, first: Duration, interval: Duration) -> io::Result<()> {
        let timespec = |duration: Duration| libc::timespec {
            tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: duration.subsec_nanos().into(),
        };
        let times = libc::itimerspec { it_interval: timespec(interval), it_value: timespec(first) };
        // SAFETY: the timer is ours, and `times` outlives the call.
        if unsafe { libc::timer_settime(self.0, 0, &times, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl Drop for KickTimer {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the timer is ours and is not used after this.
        unsafe { libc::timer_delete(self.0) };
    }
}
