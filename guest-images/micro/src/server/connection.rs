//! One client: requests it has sent part of, and replies it has not taken yet.

use alloc::vec::Vec;

use smoltcp::socket::tcp::Socket;

use super::{After, Occasion, Service};
use crate::resp::{MOST_REPLY_BYTES, MOST_REQUEST_BYTES, Protocol, Reply, parse};

/// With more waiting to be sent than this, no further request is executed.
const HIGH_WATER_BYTES: usize = 32 * 1024;
/// A client that does not close a connection that the server has closed loses it after this long.
const LINGER_NS: u64 = 10_000_000_000;
/// Heap of a connection's buffers.
pub(super) const BUFFER_BYTES: usize = MOST_REQUEST_BYTES + HIGH_WATER_BYTES + MOST_REPLY_BYTES;

/// The buffers have their full size from the start, so that no client can run the server out of memory later.
pub(super) struct Connection<W> {
    input: Vec<u8>,
    output: Vec<u8>,
    protocol: Protocol,
    /// Bytes of the output that the socket has taken.
    sent: usize,
    /// The last request's reply is not there yet, and no further request is executed.
    waiting: Option<W>,
    /// No further request is executed, and the connection is closed when the output is sent.
    closing: bool,
    /// When it was closed, in ns since power-on.
    closed_ns: Option<u64>,
}

impl<W> Connection<W> {
    pub fn new() -> Self {
        Self {
            input: Vec::with_capacity(MOST_REQUEST_BYTES),
            output: Vec::with_capacity(HIGH_WATER_BYTES + MOST_REPLY_BYTES),
            protocol: Protocol::default(),
            sent: 0,
            waiting: None,
            closing: false,
            closed_ns: None,
        }
    }

    /// Bytes of both buffers.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.input.capacity() + self.output.capacity()
    }

    /// Forgets the client, for the next one.
    pub fn reset(&mut self) {
        self.input.clear();
        self.output.clear();
        self.protocol = Protocol::default();
        self.sent = 0;
        self.waiting = None;
        self.closing = false;
        self.closed_ns = None;
    }

    /// Executes the requests that have arrived, as long as the client takes the replies. After a protocol error or a QUIT the
    /// rest is taken in and not looked at: a client that is still sending could not read its last reply otherwise.
    pub fn serve(
        &mut self,
        socket: &mut Socket,
        service: &mut impl Service<Wait = W>,
        occasion: &mut Occasion,
    ) {
        self.finish(service);
        if self.closing {
            self.discard(socket);
        }
        loop {
            self.send(socket);
            if !self.output.is_empty() || self.closing || self.waiting.is_some() {
                break;
            }
            let received = self.receive(socket);
            if !self.execute(service, occasion) && !received {
                break;
            }
        }
        let done = self.output.is_empty() && self.waiting.is_none();
        if done && (self.closing || !socket.may_recv()) && self.closed_ns.is_none() {
            socket.close();
            self.closed_ns = Some(occasion.now_ns);
        }
    }

    /// Waits for the client to close the connection as well, for a while.
    pub fn linger(&mut self, socket: &mut Socket, now_ns: u64) {
        self.discard(socket);
        if self.closed_ns.is_some_and(|closed_ns| now_ns >= closed_ns + LINGER_NS) {
            socket.abort();
        }
    }

    /// Takes in what the client still sends.
    fn discard(&mut self, socket: &mut Socket) {
        self.input.clear();
        while socket.recv(|data| (data.len(), data.len())).is_ok_and(|bytes| bytes > 0) {}
    }

    /// Ends the waiting when the reply is there.
    fn finish(&mut self, service: &mut impl Service<Wait = W>) {
        if let Some(wait) = &self.waiting
            && service.finish(wait, &mut Reply::to(&mut self.output, &mut self.protocol))
        {
            self.waiting = None;
        }
    }

    fn send(&mut self, socket: &mut Socket) {
        // A socket that can no longer send ends the connection by itself.
        self.sent += socket.send_slice(&self.output[self.sent..]).unwrap_or(0);
        if self.sent == self.output.len() {
            self.output.clear();
            self.sent = 0;
        }
    }

    /// Takes received bytes; whether there were any.
    fn receive(&mut self, socket: &mut Socket) -> bool {
        let room = MOST_REQUEST_BYTES - self.input.len();
        let taken = socket.recv(|data| {
            let bytes = data.len().min(room);
            self.input.extend_from_slice(&data[..bytes]);
            (bytes, bytes)
        });
        taken.is_ok_and(|bytes| bytes > 0)
    }

    /// Executes the whole requests in the input; whether there were any.
    fn execute(&mut self, service: &mut impl Service<Wait = W>, occasion: &mut Occasion) -> bool {
        let (mut used, mut words) = (0, Vec::new());
        while self.output.len() <= HIGH_WATER_BYTES && !self.closing && self.waiting.is_none() {
            match parse(&self.input[used..], &mut words) {
                Ok(Some((request, bytes))) => {
                    occasion.commands += 1;
                    let reply = &mut Reply::to(&mut self.output, &mut self.protocol);
                    match service.execute(request, occasion, reply) {
                        After::Continue => {}
                        After::Close => self.closing = true,
                        After::Wait(wait) => self.waiting = Some(wait),
                    }
                    used += bytes;
                }
                Ok(None) => break,
                Err(error) => {
                    Reply::to(&mut self.output, &mut self.protocol).error(error.text());
                    self.closing = true;
                }
            }
        }
        self.input.drain(..used);
        used > 0 || self.closing
    }
}
