//! What the guest said and its console has not taken yet.

use std::{
    io, mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{control::Board, host::bell::Bell};

/// Output that may wait for a slow target, bytes; beyond that output is dropped, never the VM held up.
pub const CAPACITY: usize = 1 << 20;
/// What a full spool is called in `status`.
const TROUBLE: &str = "console output";

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// Some was taken and is not written yet.
    at_work: bool,
    /// Nothing found room since the last time that there was some.
    overflows: bool,
}

/// A bounded queue of bytes from those who speak for the guest to the one thread that writes.
pub struct Spool {
    state: Mutex<State>,
    arrived: Condvar,
    written: Condvar,
    /// For a writer that waits for other things too.
    bell: Bell,
    board: Board,
}

impl Spool {
    /// An empty one.
    pub fn new(board: Board) -> io::Result<Self> {
        Ok(Self {
            state: Mutex::default(),
            arrived: Condvar::new(),
            written: Condvar::new(),
            bell: Bell::new()?,
            board,
        })
    }

    /// Adds a piece, or drops it when there is no room.
    pub fn put(&self, bytes: &[u8]) {
        let mut state = self.lock();
        let fits = state.waiting.len() + bytes.len() <= CAPACITY;
        let changed = mem::replace(&mut state.overflows, !fits) == fits;
        if fits {
            if state.waiting.is_empty() {
                self.arrived.notify_one();
                self.bell.ring();
            }
            state.waiting.extend_from_slice(bytes);
        }
        drop(state);
        if !fits {
            self.dropped(bytes.len());
        }
        match (changed, fits) {
            (true, true) => self.board.well(TROUBLE),
            (true, false) => {
                self.board.trouble(TROUBLE, "it is dropped, because what it goes to takes too little")
            }
            _ => {}
        }
    }

    /// Counts what could not be passed on.
    pub fn dropped(&self, bytes: usize) {
        self.board.update(|status| status.console.dropped_bytes += bytes as u64);
    }

    /// All that waits, as one piece, once there is any: a guest says a byte at a time, and faster than a slow target
    /// takes bytes one by one.
    pub fn take(&self) -> Vec<u8> {
        let state = self.lock();
        let nothing = |state: &mut State| state.waiting.is_empty();
        let mut state = self.arrived.wait_while(state, nothing).unwrap_or_else(PoisonError::into_inner);
        state.at_work = true;
        mem::take(&mut state.waiting)
    }

    /// What waits now, perhaps nothing; silences the bell.
    pub fn take_now(&self) -> Vec<u8> {
        let mut state = self.lock();
        self.bell.silence();
        state.at_work |= !state.waiting.is_empty();
        mem::take(&mut state.waiting)
    }

    /// Readable when something waits.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// What was taken is written.
    pub fn done(&self) {
        self.lock().at_work = false;
        self.written.notify_all();
    }

    /// Waits until everything is written, at most `patience`.
    pub fn flush(&self, patience: Duration) {
        let unwritten = |state: &mut State| state.at_work || !state.waiting.is_empty();
        drop(self.written.wait_timeout_while(self.lock(), patience, unwritten));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_taken_at_once_and_what_does_not_fit_is_counted() {
        let board = Board::default();
        let spool = Spool::new(board.clone()).unwrap();
        b"a byte at a time".iter().for_each(|byte| spool.put(&[*byte]));
        assert_eq!(spool.take(), b"a byte at a time");

        spool.put(&vec![b'x'; CAPACITY]);
        spool.put(b"12345");
        spool.put(b"678");
        let status = board.snapshot();
        assert_eq!(status.console.dropped_bytes, 8);
        assert_eq!(status.troubles.len(), 1, "{status:?}");

        assert_eq!(spool.take_now().len(), CAPACITY);
        spool.put(b"again");
        assert_eq!(spool.take_now(), b"again");
        assert_eq!(spool.take_now(), b"");
        let status = board.snapshot();
        assert_eq!(status.console.dropped_bytes, 8);
        assert!(status.troubles.is_empty(), "{status:?}");
    }
}
