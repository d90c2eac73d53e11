//! The io_uring of a disk, and the jobs that the kernel has in hand.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

use io_uring::{
    IoUring, opcode, squeue,
    types::{Fd, SubmitArgs, Timespec},
};

use super::job::Job;

/// Jobs in the kernel's hands at one time.
pub const DEPTH: usize = 64;
/// Names the bell among the calls.
const BELL: u64 = u64::MAX;

/// Whether the host has io_uring for us.
///
/// # Errors
/// It has none: an old kernel, or it is not allowed.
pub fn probe() -> io::Result<()> {
    IoUring::new(1).map(drop)
}

/// What came back.
pub enum Returned {
    /// The bell was rung; it must be watched again.
    Bell,
    /// A job's call is over, with this result.
    Job(Box<Job>, i32),
}

/// A ring for one file.
pub struct Ring {
    io: IoUring,
    file: File,
    /// The kernel reads and writes the buffers of these, so they stay here until it says that it is done.
    running: Vec<Option<Box<Job>>>,
}

impl Ring {
    /// An io_uring for a ring, which needs nothing more of the host then.
    ///
    /// # Errors
    /// The host's.
    pub fn prepare() -> io::Result<IoUring> {
        // One more for the bell.
        IoUring::new((DEPTH * 2) as u32)
    }

    /// A ring without jobs, on one that was prepared.
    pub fn new(io: IoUring, file: File) -> Self {
        Self { io, file, running: (0..DEPTH).map(|_| None).collect() }
    }

    /// The jobs under way.
    pub fn running(&self) -> impl Iterator<Item = &Job> {
        self.running.iter().flatten().map(Box::as_ref)
    }

    /// True when another job fits.
    pub fn has_room(&self) -> bool {
        self.running.iter().any(Option::is_none)
    }

    /// Makes the next call of a job, for which there must be room.
    pub fn launch(&mut self, mut job: Box<Job>) {
        let place = self.running.iter().position(Option::is_none).expect("the caller has looked for room");
        let entry = job.entry(Fd(self.file.as_raw_fd())).user_data(place as u64);
        self.running[place] = Some(job);
        // SAFETY: the file is open for as long as the ring; the buffer is on the heap and belongs to a job that is not
        // touched before its call has come back, nor dropped (see `Drop`).
        #[allow(unsafe_code)]
        unsafe {
            self.push(&entry);
        }
    }

    /// Has [`Ring::wait`] return when there is something to read from `bell`, once.
    pub fn watch(&mut self, bell: BorrowedFd<'_>) {
        let entry = opcode::PollAdd::new(Fd(bell.as_raw_fd()), libc::POLLIN as u32).build().user_data(BELL);
        // SAFETY: a poll touches no memory; the kernel keeps the file open until it is over.
        #[allow(unsafe_code)]
        unsafe {
            self.push(&entry);
        }
    }

    /// # Safety
    /// What the entry points to must outlive its call.
    #[allow(unsafe_code)]
    unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: as the caller promises.
        unsafe { self.io.submission().push(entry) }.expect("twice as many entries as jobs");
    }

    /// Hands all calls over and waits until one comes back, at most `patience`.
    pub fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let waited = match patience {
            None => self.io.submit_and_wait(1),
            Some(patience) => {
                let patience = Timespec::from(patience);
                self.io.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&patience))
            }
        };
        match waited {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // A signal, the end of patience, or the kernel wants its answers taken first.
                Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// The next call that has come back.
    pub fn next(&mut self) -> Option<Returned> {
        let answer = self.io.completion().next()?;
        match answer.user_data() {
            BELL => Some(Returned::Bell),
            place => {
                let mut job = self.running[place as usize].take().expect("one answer for each call");
                let result = match answer.result() {
                    // Nobody takes calls back: the kernel had to make it on a thread of its own, and could start none.
                    result if result == -libc::ECANCELED => job.call(&self.file),
                    result => result,
                };
                Some(Returned::Job(job, result))
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        while self.running().next().is_some() {
            if self.wait(None).is_err() {
                // The kernel may still write into these buffers.
                std::mem::forget(std::mem::take(&mut self.running));
                return;
            }
            while self.next().is_some() {}
        }
    }
}
