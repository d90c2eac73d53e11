//! Where the threads write what `status` reads, and where commands find their way to whoever carries them out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Notice, Pending, Status, Trouble};
use crate::{host::clock::wall_ns, logging};

const MAX_NOTICES: usize = 64;

type Handler = Box<dyn Fn(Pending) + Send>;

/// Shared by all threads of a process.
#[derive(Clone, Default)]
pub struct Board {
    status: Arc<Mutex<Status>>,
    handler: Arc<Mutex<Option<Handler>>>,
}

impl Board {
    /// Changes the status.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status());
    }

    /// The status now.
    pub fn snapshot(&self) -> Status {
        let mut status = self.status().clone();
        status.troubles.extend(trouble_of_the_log());
        status
    }

    /// Notes that something happened, for `status` and for the log.
    pub fn notice(&self, text: impl Into<String>) {
        let text = text.into();
        tracing::info!("{text}");
        let mut status = self.status();
        if status.events.len() == MAX_NOTICES {
            status.events.remove(0);
        }
        status.events.push(Notice { time_ms: wall_ns() / 1_000_000, text });
    }

    /// Notes what may happen again and again, and is worth telling when it is news.
    pub fn notice_once(&self, text: impl Into<String>) {
        let text = text.into();
        if self.status().events.last().is_none_or(|last| last.text != text) {
            self.notice(text);
        }
    }

    /// From now on commands other than `status` go to `handler`; `None` when nobody can carry them out.
    pub fn set_handler(&self, handler: Option<Handler>) {
        *self.handler.lock().unwrap_or_else(PoisonError::into_inner) = handler;
    }

    /// Hands a command on.
    pub(super) fn dispatch(&self, pending: Pending) {
        match &*self.handler.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(handler) => handler(pending),
            None => pending.refuse("this process is a secondary; ask the primary"),
        }
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log's own trouble, which no line of it can tell of.
fn trouble_of_the_log() -> Option<Trouble> {
    logging::trouble().map(|(since_ms, text)| Trouble { what: "log".into(), text, since_ms })
}
