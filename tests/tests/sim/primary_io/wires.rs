//! The connections of a primary: what is sent on them, and what arrives.

use ftlog::{Condition, FrameDecoder, FrameKind, Generation, Heartbeat, Message as _, Position, Registers};
use protocol::LossReason;
use protocol::primary::controller::{Attempt, Event, Message};
use protocol::primary::{Link, PeerEvent};

use super::PrimaryIo;
use super::wire::{Wire, divergence, peer_event};
use crate::failure::Failure;
use crate::faults::MS;
use crate::input::Input;
use crate::network::{Arrival, Conn};
use crate::process::Name;
use crate::shared::Shared;

/// How long a handshake may take.
const PATIENCE_NS: u64 = 400 * MS;

impl PrimaryIo {
    pub(super) fn drop_peer(
        &mut self,
        link: Link,
        reason: &LossReason,
        shared: &mut Shared,
    ) -> Result<(), Failure> {
        if self.paused_for == Some(link) {
            self.paused_for = None;
        }
        self.log.clear();
        let leak = shared.random.chance(300_000);
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.link == Some(link)) else { return Ok(()) };
        wire.reading &= leak;
        let conn = wire.conn;
        shared.close(conn, self.name);
        shared.honest(conn, reason)
    }

    pub(super) fn send_log(&mut self, link: Link, through: Position, shared: &mut Shared) {
        while let Some((_, frames)) = self.log.pop_front_if(|(last, _)| *last <= through) {
            let is_lost = shared.batch_is_lost(self.log_conn);
            for (kind, body) in frames {
                // All of it, or all but some of what leads to its first step.
                if !is_lost || kind != FrameKind::Steps && shared.random.chance(500_000) {
                    self.send(link, kind, &body, shared);
                }
            }
        }
    }

    pub(super) fn send_message(&mut self, link: Link, message: Message, shared: &mut Shared) {
        match message {
            Message::SeedDone => {
                self.send(link, FrameKind::SeedDone, &[], shared);
                self.log_conn = self.wire(link).map(|wire| wire.conn);
                self.paused_for = None;
            }
            Message::Heartbeat { position, released, lease_ns, stalled_ns, health } => {
                let condition = Condition { stalled_ns, health };
                let body = Heartbeat { position, released, time_ns: 0, lease_ns, condition }.encode();
                self.send(link, FrameKind::Heartbeat, &body, shared);
            }
            Message::Detach => self.send(link, FrameKind::Detach, &[], shared),
            Message::Refuse(_) => self.send(link, FrameKind::Refuse, &[], shared),
        }
    }

    pub(super) fn connect(
        &mut self,
        attempt: Attempt,
        generation: Generation,
        lease_ns: u64,
        shared: &mut Shared,
    ) {
        shared.later(self.name, PATIENCE_NS..=PATIENCE_NS, Input::GreetingOver { attempt });
        let Some(peer) = shared.some_other(self.name) else { return };
        let conn = shared.network.connect(self.name, peer);
        let decoder = FrameDecoder::new();
        self.wires.push(Wire { attempt, conn, decoder, link: None, greets: true, reading: true });
        if self.wires.len() > 6 {
            self.wires.remove(0);
        }
        let Name { host, incarnation } = self.name;
        let hello = [generation.0, lease_ns, host as u64, u64::from(incarnation)];
        shared.send(conn, self.name, FrameKind::Hello, &hello.map(u64::to_le_bytes).concat());
    }

    /// A handshake takes no longer than this, whatever has come of it.
    pub(super) fn greeting_over(&mut self, attempt: Attempt, shared: &mut Shared) {
        let ours = |wire: &&mut Wire| wire.attempt == attempt;
        let ended = self.wires.iter_mut().find(ours).is_none_or(|wire| std::mem::take(&mut wire.greets));
        if ended {
            self.close(|wire| wire.attempt == attempt, shared);
            let result = Err("no answer".to_owned());
            self.tell(Event::Connected { attempt, result }, shared);
        }
    }

    pub(super) fn arrival(&mut self, conn: Conn, arrival: Arrival, shared: &mut Shared) {
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.conn == conn) else {
            // Somebody takes us for a secondary.
            return shared.close(conn, self.name);
        };
        if !wire.reading {
            return;
        }
        let (attempt, link) = (wire.attempt, wire.link);
        let Arrival::Bytes(bytes) = arrival else {
            wire.reading = false;
            match link {
                Some(link) => self.tell_peer(link, PeerEvent::Lost(LossReason::Closed), shared),
                None => self.greeting_over(attempt, shared),
            }
            return;
        };
        assert_eq!(wire.decoder.feed(&bytes), bytes.len(), "the model's frames are short");
        self.read_on(attempt, shared);
    }

    /// What has come and can be understood now: before a connection is adopted, its Welcome only.
    pub(super) fn read_on(&mut self, attempt: Attempt, shared: &mut Shared) {
        while let Some(wire) = self.wires.iter_mut().find(|wire| wire.attempt == attempt && wire.reading) {
            if wire.link.is_none() && !wire.greets {
                return;
            }
            let frame = match wire.decoder.next() {
                Ok(None) => return,
                Ok(Some(frame)) => Some(frame),
                Err(_) => None,
            };
            let Some(link) = wire.link else {
                wire.greets = false;
                let welcome = frame.filter(|frame| frame.kind == FrameKind::Welcome);
                let window = welcome.and_then(|frame| frame.body.first_chunk().copied());
                let result = window.map(u64::from_le_bytes).ok_or_else(|| "no Welcome".to_owned());
                return self.tell(Event::Connected { attempt, result }, shared);
            };
            let diverged = frame.as_ref().and_then(divergence);
            let event = match frame {
                Some(_) if diverged.is_some() => Event::PeerDiverged { link },
                Some(frame) if frame.kind == FrameKind::Refuse => {
                    Event::PeerRefuses { link, reason: "it gives up".to_owned() }
                }
                Some(frame) => Event::Peer { link, event: peer_event(frame.kind, &frame.body) },
                None => Event::Peer { link, event: PeerEvent::Lost(LossReason::Damaged) },
            };
            wire.reading =
                !matches!(event, Event::PeerRefuses { .. } | Event::Peer { event: PeerEvent::Lost(_), .. });
            if let Some(position) = diverged {
                let ours = Registers { position, registers: None }.encode().expect("it is short");
                self.send(link, FrameKind::Registers, &ours, shared);
            }
            self.tell(event, shared);
        }
    }

    pub(super) fn close(&mut self, which: impl Fn(&Wire) -> bool, shared: &mut Shared) {
        for wire in self.wires.iter_mut().filter(|wire| which(wire)) {
            wire.reading = false;
            shared.close(wire.conn, self.name);
        }
    }

    pub(super) fn wire(&self, link: Link) -> Option<&Wire> {
        self.wires.iter().find(|wire| wire.link == Some(link))
    }

    pub(super) fn send(&mut self, link: Link, kind: FrameKind, body: &[u8], shared: &mut Shared) {
        if let Some(conn) = self.wire(link).map(|wire| wire.conn) {
            shared.send(conn, self.name, kind, body);
        }
    }
}
