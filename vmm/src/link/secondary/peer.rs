//! The connection to the primary, as long as there is one.

use ftlog::{Frame, FrameKind};
use protocol::{LossReason, secondary::follower::Input};
use rustix::event::{PollFd, PollFlags};

use crate::link::{connection::Connection, handshake::refuse};

/// The primary.
pub struct Peer {
    connection: Option<Connection>,
    received_bytes: u64,
    /// What was received with the last bytes and is not told.
    next: Option<Result<Frame, LossReason>>,
    /// That it is lost was told: nothing more comes.
    lost: bool,
}

impl Peer {
    /// It has said Hello.
    pub fn new(connection: Connection) -> Self {
        // Its Hello is no answer to our Welcome: that takes a round trip.
        let received_bytes = connection.received_bytes();
        Self { connection: Some(connection), received_bytes, next: None, lost: false }
    }

    /// The next thing that it has said, or that can be said of it, if there is one. That bytes came is told before what
    /// they are.
    pub fn next(&mut self) -> Option<Input> {
        if self.next.is_none() && !self.lost {
            let connection = self.connection.as_mut()?;
            let received = connection.receive();
            let bytes = connection.received_bytes();
            let more = std::mem::replace(&mut self.received_bytes, bytes) != bytes;
            self.next = received
                .map_err(|error| {
                    tracing::debug!(%error, "connection to the primary");
                    error.into()
                })
                .transpose();
            if more {
                return Some(Input::Bytes);
            }
        }
        let next = self.next.take();
        self.lost |= matches!(next, Some(Err(_)));
        next.map(|next| next.map_or_else(Input::Lost, Input::Frame))
    }

    /// Queues a frame; [`Peer::flush`] writes it.
    pub fn send(&mut self, kind: FrameKind, body: &[u8]) {
        if let Some(connection) = &mut self.connection {
            connection.send(kind, body);
        }
    }

    /// Writes what can be written.
    pub fn flush(&mut self) {
        if let Some(Err(error)) = self.connection.as_mut().map(Connection::flush) {
            // Reading tells the same and more: what still waits to be read is worth having.
            tracing::debug!(%error, "connection to the primary");
        }
    }

    /// Whether there is somebody to write to who may be told more of what the copies hold.
    pub fn takes_bulk(&self) -> bool {
        self.connection.as_ref().is_some_and(Connection::takes_bulk)
    }

    /// What to poll for; not for reading unless it `listens`.
    pub fn watched(&self, listens: bool) -> Option<PollFd<'_>> {
        let connection = self.connection.as_ref()?;
        let interest = connection.interest();
        let interest = if listens && !self.lost { interest } else { interest - PollFlags::IN };
        (!interest.is_empty()).then(|| PollFd::new(connection, interest))
    }

    /// Its address.
    pub fn address(&self) -> Option<String> {
        self.connection.as_ref().map(Connection::peer)
    }

    /// Closes the connection.
    pub fn drop_it(&mut self) {
        (self.connection, self.next) = (None, None);
    }

    /// Tells it why this side wants no more of it, and closes the connection.
    pub fn refuse(&mut self, reason: &str) {
        if let Some(connection) = self.connection.take() {
            refuse(connection, reason);
        }
        self.next = None;
    }
}
