//! The handle of the thread that carries out a disk's requests.

use std::io;

use devices::DiskRequest;
use io_uring::IoUring;

use super::{
    Backing, DiskError,
    intents::BaseId,
    ring::Ring,
    worker::{Letter, Surroundings, Worker},
};
use crate::{
    host::reserve::{self, Handle},
    link::mailbox::{Letters, Mailbox, mailbox},
};

/// What an engine needs of the host beside its thread and the file. A secondary has it ready before a takeover.
pub struct Equipment {
    letters: (Mailbox<Letter>, Letters<Letter>),
    io: IoUring,
}

impl Equipment {
    /// Takes it.
    ///
    /// # Errors
    /// The host has no descriptors or io_uring left.
    pub fn prepare() -> io::Result<Self> {
        Ok(Self { letters: mailbox()?, io: Ring::prepare()? })
    }
}

/// The handle. Dropping it waits until everything that was asked is done, except for what the fence holds back.
pub struct Engine {
    letters: Mailbox<Letter>,
    thread: Option<Handle<()>>,
}

impl Engine {
    /// Starts the thread. The file stays locked until it has ended.
    ///
    /// # Errors
    /// The host gives no thread.
    pub fn start(
        equipment: Equipment,
        backing: Backing,
        surroundings: Surroundings,
    ) -> Result<Self, DiskError> {
        let path = backing.path.clone();
        let Equipment { letters: (sender, letters), io } = equipment;
        let mut worker = Worker::new(backing, io, letters, surroundings);
        let work = move || {
            if let Err(error) = worker.run() {
                tracing::error!(disk = worker.name(), %error, "the io_uring has failed; the disk answers with errors");
                worker.fail();
            }
        };
        let thread = reserve::spawn("disk", work).map_err(|source| DiskError::Ring { path, source })?;
        Ok(Self { letters: sender, thread: Some(thread) })
    }

    /// Hands a request over; those that overlap are carried out in this order.
    pub fn perform(&self, request: DiskRequest) {
        self.letters.send(Letter::Perform(request));
    }

    /// The VM comes to a position, after what it has asked for until now.
    pub fn base(&self, id: BaseId) {
        self.letters.send(Letter::Base(id));
    }

    /// Has the thread look at the fence again.
    pub fn look(&self) {
        self.letters.send(Letter::Look);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.letters.send(Letter::Close);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
