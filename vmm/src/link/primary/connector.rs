//! Looking for a secondary, on a thread of its own because names resolve and hosts answer slowly.

use ftlog::{Hello, Purpose, Welcome};
use protocol::primary::{Link, PeerEvent, Phase};

use super::{messages::Message, streaming::Stream, thread::LinkThread};
use crate::{
    host::{clock::monotonic_ns, reserve},
    link::{connection::Connection, handshake::ask_for_protection, mailbox::Mailbox},
};

/// When to look again after an attempt came to nothing, ns.
const AGAIN_NS: u64 = 200_000_000;

/// The search for a peer.
pub struct Connector {
    peer: Option<String>,
    under_way: bool,
    next_ns: u64,
}

impl Connector {
    /// Looks for `peer`, if there is one to look for.
    pub fn new(peer: Option<String>) -> Self {
        Self { peer, under_way: false, next_ns: 0 }
    }

    /// The address it looks at.
    pub fn peer(&self) -> Option<&str> {
        self.peer.as_deref()
    }

    /// Looks at another address from now on, or at none.
    pub fn set_peer(&mut self, peer: Option<String>) {
        self.peer = peer;
        self.next_ns = 0;
    }

    /// True when an attempt is due.
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.peer.is_some() && !self.under_way && now_ns >= self.next_ns
    }

    /// Starts an attempt; its end is told as [`Message::Connected`].
    pub fn start(&mut self, hello: Hello, mailbox: Mailbox<Message>) {
        let Some(peer) = self.peer.clone() else { return };
        self.under_way = true;
        let told = mailbox.clone();
        let spawned = reserve::spawn("connect", move || {
            mailbox.send(Message::Connected(Box::new(ask_for_protection(&peer, &hello))));
        });
        if let Err(error) = spawned {
            // The VM runs on without a secondary, and looks again.
            let error = anyhow::Error::from(error).context("no thread to look for the secondary");
            told.send(Message::Connected(Box::new(Err(error))));
        }
    }

    /// An attempt ended.
    pub fn ended(&mut self, now_ns: u64) {
        self.under_way = false;
        self.next_ns = now_ns + AGAIN_NS;
    }
}

impl LinkThread {
    pub(super) fn seek_peer(&mut self) {
        let wanted =
            self.core.phase() == Phase::Unprotected && self.detaching.is_none() && self.failing.is_none();
        if wanted && self.connector.is_due(monotonic_ns()) {
            let hello = self.site.hello(&self.identity, self.core.generation(), Purpose::Protect);
            let disks = self.site.outlets.disks.lines().unwrap_or_else(|error| {
                self.site
                    .board
                    .notice_once(format!("the secondary is not told which disks these are: {error}"));
                Vec::new()
            });
            let hello = Hello { lease_ns: self.site.config.lease_ns(), disks, ..hello };
            self.connector.start(hello, self.mailbox.clone());
        }
    }

    pub(super) fn connected(&mut self, result: anyhow::Result<(Connection, Welcome)>) {
        self.connector.ended(monotonic_ns());
        let (connection, welcome) = match result {
            Ok(connected) => connected,
            Err(error) => return self.note_loss(format!("{error:#}")),
        };
        if self.stream.is_some() || self.core.phase() != Phase::Unprotected {
            return;
        }
        let link = Link(self.next_link);
        self.next_link += 1;
        self.site.board.notice(format!("{} ({}) becomes the secondary", connection.peer(), welcome.software));
        self.stream = Some(Stream { link, connection, streaming: false });
        self.tell_peer_event(link, PeerEvent::Ready { window_bytes: welcome.window_bytes });
        // Something may have come right behind the Welcome, which no poll will tell of.
        self.hear_peer();
    }
}
