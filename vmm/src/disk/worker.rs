//! What a disk's thread does: requests in their order, behind the fence, marked before they are written.

use std::{
    collections::VecDeque,
    fs::File,
    io, mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use devices::{DiskRequest, DiskStatus};
use ftlog::DiskMode;
use io_uring::IoUring;
use protocol::fence::{Fence, Verdict};
use rustix::event::{PollFd, PollFlags, poll};

use super::{
    Answers, Backing, Changes,
    intents::{BaseId, Intents},
    job::Job,
    ring::{Returned, Ring},
};
use crate::{host::clock::boot_ns, link::mailbox::Letters};

/// What the thread is told.
pub enum Letter {
    /// Carry this out.
    Perform(DiskRequest),
    /// The VM comes to this position; what it asked for before came before this.
    Base(BaseId),
    /// The fence may have changed.
    Look,
    /// Finish what is there and end.
    Close,
}

/// What a disk's requests have in common.
#[derive(Clone)]
pub struct Surroundings {
    /// Where answers go.
    pub answers: Arc<Answers>,
    /// Who may write a shared disk.
    pub fence: Arc<Fence>,
    /// What is written is marked here.
    pub changes: Arc<Changes>,
    /// What is about to be written is marked here.
    pub intents: Arc<Intents>,
    /// Requests that failed, counted.
    pub errors: Arc<AtomicU64>,
}

/// The thread of a disk.
pub struct Worker {
    name: String,
    mode: DiskMode,
    bytes: u64,
    ring: Ring,
    /// Locked as long as the ring may write.
    _behind: Option<File>,
    letters: Letters<Letter>,
    surroundings: Surroundings,
    /// In the order in which they came; those that could start have.
    waiting: VecDeque<Box<Job>>,
    /// When the fence lets writes through that wait.
    wake_ns: Option<u64>,
    /// A sync of our own has met an error, of which the kernel does not tell the next one: the guest's.
    owes_error: bool,
    closing: bool,
}

impl Worker {
    /// A thread's work on this file, which stays locked until it has ended; `io` was prepared for it.
    pub fn new(backing: Backing, io: IoUring, letters: Letters<Letter>, surroundings: Surroundings) -> Self {
        Self {
            name: backing.path.display().to_string(),
            mode: backing.shape.mode,
            bytes: backing.bytes(),
            ring: Ring::new(io, backing.file),
            _behind: backing.behind,
            letters,
            surroundings,
            waiting: VecDeque::new(),
            wake_ns: None,
            owes_error: false,
            closing: false,
        }
    }

    /// The disk's file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Works until it is told to end.
    ///
    /// # Errors
    /// The io_uring has failed.
    pub fn run(&mut self) -> io::Result<()> {
        self.ring.watch(self.letters.descriptor());
        loop {
            self.read_letters();
            self.mark_intents();
            self.start_jobs();
            if self.closing && self.wake_ns.is_none() && self.ring.running().next().is_none() {
                self.drop_waiting(|_| true);
                self.surroundings.intents.close();
                return Ok(());
            }
            let patience = self.wake_ns.map(|ns| Duration::from_nanos(ns.saturating_sub(boot_ns())));
            self.ring.wait(patience)?;
            self.take_returned();
        }
    }

    fn read_letters(&mut self) {
        while let Some(letter) = self.letters.next() {
            match letter {
                Letter::Perform(request) => self.take_in(Job::new(request, self.mode)),
                Letter::Base(id) => self.begin_base(id),
                Letter::Look => {}
                Letter::Close => self.closing = true,
            }
        }
    }

    /// The devices know how large the disk is; a file must not grow even if they did not.
    fn take_in(&mut self, job: Job) {
        if job.range().end <= self.bytes {
            self.waiting.push_back(Box::new(job));
        } else {
            self.refuse(job.slot, job.id);
        }
    }

    fn begin_base(&mut self, id: BaseId) {
        let unfinished = self.ring.running().chain(self.waiting.iter().map(Box::as_ref));
        let unfinished = unfinished.filter(|job| job.changes).map(Job::range);
        if self.surroundings.intents.propose(id, unfinished) {
            self.waiting.push_back(Box::new(Job::own_sync(self.mode)));
        }
    }

    /// Marks what the waiting jobs will write. Those that nobody would know of later are not carried out.
    fn mark_intents(&mut self) {
        let written = self.waiting.iter().filter(|job| job.changes).map(|job| job.range());
        let Err(error) = self.surroundings.intents.mark(written) else { return };
        tracing::error!(disk = self.name, %error, "what is written cannot be marked; the guest gets errors");
        for job in mem::take(&mut self.waiting) {
            if job.changes && !job.is_own {
                self.refuse(job.slot, job.id)
            } else {
                self.waiting.push_back(job)
            }
        }
    }

    /// Starts whatever is not held back by the fence or by an earlier job that it conflicts with.
    fn start_jobs(&mut self) {
        self.wake_ns = None;
        let mut index = 0;
        while index < self.waiting.len() && self.ring.has_room() {
            let job = &self.waiting[index];
            let earlier = self.ring.running().chain(self.waiting.iter().take(index).map(Box::as_ref));
            if { earlier }.any(|earlier| earlier.conflicts_with(job)) {
                index += 1;
                continue;
            }
            match self.verdict(job) {
                Verdict::Yes => {
                    if let Some(job) = self.waiting.remove(index) {
                        self.ring.launch(job);
                    }
                }
                Verdict::From(wake_ns) => {
                    self.wake_ns = Some(wake_ns);
                    index += 1;
                }
                Verdict::Wait => index += 1,
                Verdict::No => self.drop_waiting(|job| job.changes),
            }
        }
    }

    fn verdict(&self, job: &Job) -> Verdict {
        if self.mode == DiskMode::Shared && job.changes {
            self.surroundings.fence.verdict(boot_ns())
        } else {
            Verdict::Yes
        }
    }

    fn drop_waiting(&mut self, which: impl Fn(&Job) -> bool) {
        let answers = &self.surroundings.answers;
        self.waiting.retain(|job| {
            let dropped = which(job);
            if dropped {
                answers.give_up(job.slot, job.id);
            }
            !dropped
        });
    }

    fn take_returned(&mut self) {
        while let Some(returned) = self.ring.next() {
            match returned {
                Returned::Bell => {
                    self.letters.acknowledge();
                    self.ring.watch(self.letters.descriptor());
                }
                Returned::Job(mut job, result) => match job.advance(result) {
                    Some(status) => self.finish(&mut job, status, result),
                    // Before the others, as it came before them; but it has to pass the fence again.
                    None => self.waiting.push_front(job),
                },
            }
        }
        let mut jobs = self.ring.running().chain(self.waiting.iter().map(Box::as_ref));
        if !jobs.any(|job| job.changes) {
            self.surroundings.intents.rest();
        }
    }

    fn finish(&mut self, job: &mut Job, mut status: DiskStatus, result: i32) {
        let intents = &self.surroundings.intents;
        if job.is_own {
            self.owes_error |= status != DiskStatus::Ok;
            return intents.establish(status == DiskStatus::Ok);
        }
        if job.is_sync() && mem::take(&mut self.owes_error) {
            status = DiskStatus::IoError;
        }
        if job.changes
            && status != DiskStatus::Ok
            && let Err(error) = intents.forget()
        {
            tracing::warn!(disk = self.name, %error, "the write-intent bitmap says what may not be true");
        }
        if job.changes {
            let range = job.range();
            self.surroundings.changes.mark(range.start, range.end - range.start);
        }
        if status == DiskStatus::IoError && self.surroundings.errors.fetch_add(1, Ordering::AcqRel) == 0 {
            let problem = match result {
                0.. => "the file ends too early, or has no room".to_owned(),
                errno => io::Error::from_raw_os_error(-errno).to_string(),
            };
            tracing::warn!(
                disk = self.name,
                "a request failed: {problem}; the guest is told, as of all others"
            );
        }
        let is_read = !job.changes && status == DiskStatus::Ok;
        let data = if is_read { mem::take(&mut job.data) } else { Vec::new() };
        self.surroundings.answers.answer(job.slot, job.id, status, data);
    }

    /// Answers everything with an error, until nobody asks any more.
    pub fn fail(&mut self) {
        let _ = self.surroundings.intents.forget();
        let lost: Vec<_> =
            self.ring.running().filter(|job| !job.is_own).map(|job| (job.slot, job.id)).collect();
        lost.into_iter().for_each(|(slot, id)| self.refuse(slot, id));
        while !self.closing {
            self.letters.acknowledge();
            self.read_letters();
            for job in mem::take(&mut self.waiting).iter().filter(|job| !job.is_own) {
                self.refuse(job.slot, job.id);
            }
            let _ = poll(&mut [PollFd::from_borrowed_fd(self.letters.descriptor(), PollFlags::IN)], None);
        }
    }

    fn refuse(&self, slot: u8, id: u64) {
        self.surroundings.answers.answer(slot, id, DiskStatus::IoError, Vec::new());
    }
}
