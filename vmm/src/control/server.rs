//! The listening end of the control socket.
//!
//! One thread, which is there before the VM is, serves all clients and waits for none: a process that can start no thread
//! more, or whose clients say nothing, still tells its status.

use std::{
    io,
    os::unix::net::UnixListener,
    path::Path,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Board, session::Session};
use crate::host::{bell::Bell, door::Door, socket::OwnSocket};

/// Clients at one time. One more takes the place of the one that has said nothing for longest.
const MAX_CLIENTS: usize = 16;
/// Commands that may wait for what comes of them, so that there is always room for `status`.
const MAX_COMMANDS: usize = 8;
/// How often commands are looked at that wait for what comes of them.
const AGAIN: Duration = Duration::from_millis(10);
/// How long an end waits for clients to take their answers.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Answers at the socket until it is dropped; then the socket is gone.
pub struct Server {
    socket: OwnSocket,
    end: Bell,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at `path`, where only this user may connect. See [`OwnSocket::listen`] for what may be there before.
    pub fn start(path: &Path, board: Board) -> anyhow::Result<Self> {
        let (listener, socket) =
            OwnSocket::listen(path).with_context(|| format!("no control socket at {}", path.display()))?;
        let door = Door::new(listener, "control socket", board.clone())?;
        let end = Bell::new()?;
        let clients = Clients { door, sessions: Vec::new(), board, end: end.clone() };
        let thread = thread::Builder::new().name("control".into()).spawn(move || clients.run())?;
        Ok(Self { socket, end, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.socket.remove();
        // The answers that are there still reach their clients.
        self.end.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Clients {
    door: Door<UnixListener>,
    sessions: Vec<Session>,
    board: Board,
    end: Bell,
}

impl Clients {
    fn run(mut self) {
        while !self.end.silence() {
            self.wait(None);
            while let Some(stream) = self.door.accept() {
                self.let_in(Session::new(stream));
            }
            self.serve();
        }
        let until = Instant::now() + LAST_ANSWERS;
        self.serve();
        self.sessions.retain(Session::is_answered);
        while !self.sessions.is_empty() && Instant::now() < until {
            self.wait(Some(AGAIN));
            self.serve();
        }
    }

    /// Waits until somebody can be served.
    fn wait(&self, at_most: Option<Duration>) {
        let commands = self.sessions.iter().any(Session::waits).then_some(AGAIN);
        let patience = self.sessions.iter().filter_map(Session::patience);
        let patience = patience.chain(self.door.patience()).chain(commands).chain(at_most).min();
        let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
        let mut watched = Vec::new();
        if at_most.is_none() {
            watched.push(PollFd::new(&self.end, PollFlags::IN));
            watched.extend(self.door.interest().map(|door| PollFd::from_borrowed_fd(door, PollFlags::IN)));
        }
        watched.extend(self.sessions.iter().map(|session| PollFd::new(session, session.interest())));
        // An error here, such as an interruption, only means to look at once.
        let _: Result<usize, _> = poll(&mut watched, patience.as_ref());
    }

    fn let_in(&mut self, session: io::Result<Session>) {
        let Ok(session) = session else { return };
        if self.sessions.len() == MAX_CLIENTS {
            // There is one: fewer commands wait than there are clients. The first is the oldest.
            let oldest = self.sessions.iter().position(|session| !session.waits()).unwrap_or(0);
            self.sessions.remove(oldest);
        }
        self.sessions.push(session);
    }

    fn serve(&mut self) {
        let mut commands = self.sessions.iter().filter(|session| session.waits()).count();
        for session in &mut self.sessions {
            let waited = session.waits();
            session.serve(&self.board, commands < MAX_COMMANDS);
            commands = commands + usize::from(session.waits()) - usize::from(waited);
        }
        self.sessions.retain(|session| !session.is_over());
    }
}

#[cfg(test)]
mod tests;
