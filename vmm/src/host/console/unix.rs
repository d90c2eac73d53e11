//! A console at a Unix socket: everybody who connects hears the guest and can type to it.
//!
//! One thread serves them all and waits for none. A client that does not read loses what it could not take; a client whose
//! input the guest does not take is not read until it does.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    sync::Arc,
    thread,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::spool::Spool;
use crate::{control::Board, host::door::Door, ingress::Inbox};

/// Clients at one time. One more takes the place of the oldest, so that an operator always gets in, however many were
/// forgotten.
const MAX_CLIENTS: usize = 8;
/// Output that waits for a client, bytes.
const MAX_WAITING: usize = 256 << 10;
/// How often a guest that had no room for input is asked again.
const AGAIN: Duration = Duration::from_millis(20);
/// What troubles are told by.
const NAME: &str = "console socket";
const SILENT: &str = "console client";

struct Client {
    stream: UnixStream,
    /// For the client.
    output: VecDeque<u8>,
    /// From it, for the guest.
    input: Vec<u8>,
    /// It sends nothing more.
    input_ended: bool,
    /// It takes nothing more.
    output_ended: bool,
    /// It lost output, and has not caught up since.
    overflows: bool,
}

struct Server {
    door: Door<UnixListener>,
    clients: VecDeque<Client>,
    spool: Arc<Spool>,
    inbox: Arc<Inbox>,
    board: Board,
}

/// Starts to serve whoever connects, until the process ends.
pub fn start(listener: UnixListener, spool: Arc<Spool>, inbox: Arc<Inbox>, board: Board) -> io::Result<()> {
    let door = Door::new(listener, NAME, board.clone())?;
    let mut server = Server { door, clients: VecDeque::new(), spool, inbox, board };
    let body = move || loop {
        server.wait();
        server.serve();
    };
    thread::Builder::new().name("console".into()).spawn(body)?;
    Ok(())
}

impl Server {
    /// Waits until somebody can be served.
    fn wait(&self) {
        let waits_for_guest = self.clients.iter().any(|client| !client.input.is_empty());
        let patience = self.door.patience().into_iter().chain(waits_for_guest.then_some(AGAIN)).min();
        let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
        let mut watched = vec![PollFd::new(self.spool.bell(), PollFlags::IN)];
        watched.extend(self.door.interest().map(|door| PollFd::from_borrowed_fd(door, PollFlags::IN)));
        watched.extend(self.clients.iter().filter_map(|client| {
            let interest = client.interest()?;
            Some(PollFd::new(&client.stream, interest))
        }));
        // An error here, such as an interruption, only means to look at once.
        let _ = poll(&mut watched, patience.as_ref());
    }

    fn serve(&mut self) {
        while let Some(stream) = self.door.accept() {
            self.let_in(stream);
        }
        let said = self.spool.take_now();
        for client in &mut self.clients {
            let lost = client.say(&said);
            if lost > 0 {
                self.spool.dropped(lost);
            }
            client.write();
            client.read();
            let taken = self.inbox.push_console(&client.input);
            client.input.drain(..taken);
        }
        self.clients.retain_mut(|client| !client.has_left());
        if self.clients.iter().all(|client| client.output.is_empty()) {
            self.spool.done();
        }
        match self.clients.iter().filter(|client| client.overflows).count() {
            0 => self.board.well(SILENT),
            count => self.board.trouble(SILENT, format!("{count} of them do not read and miss what is said")),
        }
    }

    fn let_in(&mut self, stream: UnixStream) {
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        if self.clients.len() == MAX_CLIENTS {
            self.clients.pop_front();
        }
        self.clients.push_back(Client::new(stream));
    }
}

impl Client {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            output: VecDeque::new(),
            input: Vec::new(),
            input_ended: false,
            output_ended: false,
            overflows: false,
        }
    }

    /// What to wait for. Nothing at all while only the guest is waited for: that the client has left, which cannot be
    /// waited for separately, would be told again and again.
    fn interest(&self) -> Option<PollFlags> {
        let reads = !self.input_ended && self.input.is_empty();
        let writes = !self.output.is_empty();
        let interest = [(reads, PollFlags::IN), (writes, PollFlags::OUT)];
        let interest = interest.into_iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| flag).collect();
        (self.input.is_empty() || writes).then_some(interest)
    }

    /// Keeps what the guest said for it; gives how many bytes it loses for want of room.
    fn say(&mut self, said: &[u8]) -> usize {
        if self.output_ended || said.is_empty() {
            return 0;
        }
        if self.output.len() + said.len() > MAX_WAITING {
            self.overflows = true;
            return said.len();
        }
        self.output.extend(said);
        0
    }

    fn write(&mut self) {
        while !self.output.is_empty() {
            match self.stream.write(self.output.as_slices().0) {
                Ok(written) => drop(self.output.drain(..written)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.output_ended = true;
                    self.output.clear();
                }
            }
        }
        self.overflows = false;
    }

    /// Takes in one piece, when what came before it is with the guest.
    fn read(&mut self) {
        if self.input_ended || !self.input.is_empty() {
            return;
        }
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece) {
            Ok(0) => self.input_ended = true,
            Ok(length) => self.input.extend_from_slice(&piece[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(_) => self.input_ended = true,
        }
    }

    /// True when it neither sends nor takes anything any more. A client that only closed its sending end may listen on:
    /// that it closed the other too shows when it is waited for, or written to.
    fn has_left(&mut self) -> bool {
        if !self.input_ended || !self.input.is_empty() {
            return false;
        }
        let mut watched = [PollFd::new(&self.stream, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let hung_up = matches!(poll(&mut watched, Some(&now)), Ok(1..));
        hung_up || self.output_ended
    }
}

#[cfg(test)]
mod tests;
