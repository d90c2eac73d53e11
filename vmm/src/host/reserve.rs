//! Threads and descriptors put aside at the start, so that a takeover does not fail for want of them.
//!
//! A host can run out of threads (`pids.max`, RLIMIT_NPROC) and a process of descriptors (RLIMIT_NOFILE) at any time,
//! also in the moment in which the other side of a pair dies. What has to be started then is started with what was
//! put aside.

use std::{
    fs::File,
    io,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::{
    io::fcntl_dupfd_cloexec,
    process::{Resource, getrlimit},
};

/// Threads put aside: watchdog, link, TAP reader and alarm of a takeover, its disks with their locks and stamps, with a
/// claim, an announcement, a search for a new peer and a look at the arbiter beside them, and two more.
const THREADS: usize = 11 + 2 * devices::MAX_DISKS;
/// Descriptors put aside: those of a claim and of files that are opened again, and as many more for whoever is quicker.
/// What else a takeover needs is [made before](crate::link::primary::Means).
const DESCRIPTORS: usize = 32;

/// Descriptors for which the process's table has room from the start. A table that has to grow in a process with threads
/// makes whoever opens the file wait for the kernel's RCU grace period: on a busy host, for most of a second.
const TABLE: u64 = 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Takes a job only while a thread waits for one.
static IDLE: OnceLock<Sender<Job>> = OnceLock::new();
static SPARE: Mutex<Vec<File>> = Mutex::new(Vec::new());
/// Descriptors were put aside once, so they should be again.
static HOLDS: AtomicBool = AtomicBool::new(false);

/// A thread, or what came of it.
#[derive(Debug)]
pub struct Handle<T>(Receiver<T>);

impl<T> Handle<T> {
    /// Waits for its end; `None` when it panicked.
    pub fn join(self) -> Option<T> {
        self.0.recv().ok()
    }
}

/// Puts threads and descriptors aside, for a process that protects a VM.
///
/// # Errors
/// There are not enough of them now.
pub fn hold() -> io::Result<()> {
    let (idle, jobs) = bounded::<Job>(0);
    if IDLE.set(idle).is_err() {
        return Ok(());
    }
    grow_table();
    for _ in 0..THREADS {
        let jobs = jobs.clone();
        thread::Builder::new().name("reserve".into()).spawn(move || jobs.iter().for_each(|job| job()))?;
    }
    HOLDS.store(true, Ordering::Release);
    refill()
}

/// As far as the process may have descriptors. The table never gets smaller again.
fn grow_table() {
    let most = getrlimit(Resource::Nofile).current.unwrap_or(TABLE).min(TABLE);
    let grown = i32::try_from(most.saturating_sub(1)).map_err(io::Error::other).and_then(|last| {
        let null = File::open("/dev/null")?;
        Ok(fcntl_dupfd_cloexec(&null, last)?)
    });
    if let Err(error) = grown {
        tracing::debug!(%error, "the table of descriptors grows when it has to");
    }
}

/// Starts a thread, or has one do it that was put aside if the host gives no other.
///
/// # Errors
/// The host's, when none of those is free either.
pub fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Handle<T>> {
    let (sender, receiver) = bounded(1);
    let job: Job = Box::new(move || {
        let _ = sender.send(body());
    });
    // What cannot be started is dropped, so it gets the way to the job only.
    let (give, take) = bounded::<Job>(1);
    let take_one = move || take.iter().for_each(|job| job());
    match thread::Builder::new().name(name.into()).spawn(take_one) {
        Ok(_) => {
            let _ = give.send(job);
        }
        Err(error) => {
            let taken = IDLE.get().is_some_and(|idle| idle.try_send(job).is_ok());
            if !taken {
                return Err(error);
            }
        }
    }
    Ok(Handle(receiver))
}

/// Gives the descriptors free that were put aside: they are needed now.
pub fn spend() {
    spare().clear();
}

/// Puts descriptors aside again, as far as there are any.
///
/// # Errors
/// There are not enough now.
pub fn refill() -> io::Result<()> {
    if !HOLDS.load(Ordering::Acquire) {
        return Ok(());
    }
    let mut spare = spare();
    while spare.len() < DESCRIPTORS {
        spare.push(File::open("/dev/null")?);
    }
    Ok(())
}

fn spare() -> MutexGuard<'static, Vec<File>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gives_what_it_came_to() {
        assert_eq!(spawn("adds", || 1 + 1).unwrap().join(), Some(2));
    }

    #[test]
    fn the_table_of_descriptors_is_as_large_as_it_will_be() {
        grow_table();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
        let may = getrlimit(Resource::Nofile).current.unwrap_or(TABLE);
        assert!(size.trim().parse::<u64>().unwrap() >= may.min(TABLE), "{size}");
    }

    #[test]
    fn a_thread_that_panics_gives_nothing() {
        let panics = || -> u32 { std::panic::resume_unwind(Box::new("on purpose")) };
        assert_eq!(spawn("panics", panics).unwrap().join(), None);
    }
}
