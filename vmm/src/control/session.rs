//! One client at the control socket: it asks in one line and is answered in one.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use rustix::event::PollFlags;
use serde_json::{Value, json};

use super::{Board, Pending, Request};

/// A request is one short line.
const MAX_LINE: usize = 4096;
/// From a client's coming to the end of its line, and from its answer to its having taken it.
pub const PATIENCE: Duration = Duration::from_secs(5);

enum Phase {
    /// The line so far.
    Asking(Vec<u8>),
    /// Something is being done for it.
    Waiting(Receiver<Value>),
    /// What it has not taken yet.
    Answered(Vec<u8>),
    Over,
}

pub struct Session {
    stream: UnixStream,
    phase: Phase,
    since: Instant,
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Session {
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, phase: Phase::Asking(Vec::new()), since: Instant::now() })
    }

    /// Its command is being carried out.
    pub fn waits(&self) -> bool {
        matches!(self.phase, Phase::Waiting(_))
    }

    /// It has an answer to take.
    pub fn is_answered(&self) -> bool {
        matches!(self.phase, Phase::Answered(_))
    }

    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    pub fn interest(&self) -> PollFlags {
        match self.phase {
            Phase::Asking(_) => PollFlags::IN,
            Phase::Answered(_) => PollFlags::OUT,
            Phase::Waiting(_) | Phase::Over => PollFlags::empty(),
        }
    }

    /// How much longer it is waited for; for ever while it waits itself.
    pub fn patience(&self) -> Option<Duration> {
        (!self.waits()).then(|| PATIENCE.saturating_sub(self.since.elapsed()))
    }

    /// Does what can be done without waiting. `has_room`: one more command may wait for what comes of it.
    pub fn serve(&mut self, board: &Board, has_room: bool) {
        if let Phase::Asking(line) = &mut self.phase
            && read_line(&self.stream, line)
        {
            let line = std::mem::take(line);
            self.ask(&line, board, has_room);
        }
        if let Phase::Waiting(answer) = &self.phase {
            match answer.try_recv() {
                Ok(answer) => self.answer(&answer),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => {
                    self.answer(&json!({ "error": "the process ended before it was done" }));
                }
            }
        }
        if let Phase::Answered(rest) = &mut self.phase
            && write(&self.stream, rest)
        {
            self.phase = Phase::Over;
        }
        if self.patience().is_some_and(|patience| patience.is_zero()) {
            self.phase = Phase::Over;
        }
    }

    fn ask(&mut self, line: &[u8], board: &Board, has_room: bool) {
        match serde_json::from_slice(line) {
            Ok(Request::Status) => self.answer(&json!({ "ok": board.snapshot() })),
            Ok(_) if !has_room => {
                self.answer(&json!({ "error": "too many commands wait to be carried out; ask again later" }));
            }
            Ok(request) => {
                let (sender, answer) = bounded(1);
                self.phase = Phase::Waiting(answer);
                board.dispatch(Pending::new(request, sender));
            }
            Err(error) => self.answer(&json!({ "error": format!("not a request: {error}") })),
        }
    }

    fn answer(&mut self, answer: &Value) {
        self.phase = Phase::Answered(format!("{answer}\n").into_bytes());
        self.since = Instant::now();
    }
}

/// Reads on; true when the line is there, or all that comes of it.
fn read_line(mut stream: &UnixStream, line: &mut Vec<u8>) -> bool {
    let mut piece = [0; MAX_LINE];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return true,
            Ok(length) => line.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            line.truncate(end);
            return true;
        }
        if line.len() >= MAX_LINE {
            return true;
        }
    }
}

/// Writes on; true when all is written, or the client has gone.
fn write(mut stream: &UnixStream, rest: &mut Vec<u8>) -> bool {
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(written) => drop(rest.drain(..written)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
    true
}
