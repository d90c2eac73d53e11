//! The thread that runs a vCPU, and how others get it out of a guest that does not exit.

use std::io;

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
