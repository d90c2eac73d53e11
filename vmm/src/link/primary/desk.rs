//! The controller and the hands that do what it asks, as one thing that one thread at a time has.
//!
//! The link thread has it for most of what happens. What the vCPU thread has recorded it takes to the controller itself, if
//! nobody else is there: an output then is on its way to the secondary without waking a thread of this side. Else it leaves
//! a letter.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use devices::{DiskRequest, Output};
use ftlog::{Delta, FrameKind};
use protocol::primary::{
    Link, PeerEvent,
    controller::{Controller, Effect, Event, Said, Stretch as Recorded},
};
use replay::trace::{self, Stage};

use super::{
    hands::{Hands, Unsent},
    messages::Stretch,
    seeding::Seeding,
};
use crate::host::clock::boot_ns;

/// The two.
pub struct Desk {
    pub controller: Controller<Output, DiskRequest>,
    pub hands: Hands,
}

/// Where they are while nobody has them; clones are the same place. Empty once the link thread has ended.
#[derive(Clone, Default)]
pub struct SharedDesk(Arc<Mutex<Option<Desk>>>);

impl SharedDesk {
    /// A place for this one.
    pub fn new(desk: Desk) -> Self {
        Self(Arc::new(Mutex::new(Some(desk))))
    }

    /// Waits for whoever has it.
    pub fn lock(&self) -> MutexGuard<'_, Option<Desk>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in it, if nobody has it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, Option<Desk>>> {
        self.0.try_lock().ok()
    }
}

impl Desk {
    /// A desk whose controller has asked for `first`.
    pub fn new(
        controller: Controller<Output, DiskRequest>,
        hands: Hands,
        first: Vec<Effect<Output, DiskRequest>>,
    ) -> Self {
        let mut desk = Self { controller, hands };
        first.into_iter().for_each(|effect| desk.hands.carry_out(effect));
        desk
    }

    /// Tells the controller and does what it asks, and tells it what was found out meanwhile.
    pub fn tell(&mut self, event: Event<Output, DiskRequest>) {
        self.tell_one(event);
        self.tell_news();
    }

    /// The same about a connection.
    pub fn tell_peer(&mut self, link: Link, event: PeerEvent) {
        self.tell(Event::Peer { link, event });
    }

    /// Writes what waits for the connection, as much as it takes now.
    pub fn flush(&mut self) {
        self.hands.flush();
        self.tell_news();
    }

    /// The vCPU thread has recorded this, and nothing before it that the controller has not heard of.
    pub fn recorded(&mut self, stretch: Stretch) {
        let Stretch { batch, delta, registers, outputs, time_ns, since_ns, handed_over_ns } = stretch;
        let through = batch.last;
        trace::mark(Stage::Taken, through);
        self.hands.time_ns = time_ns;
        self.hands.registers.extend(through, registers);
        let delta = delta.map(|mut taken| {
            taken.delta = taken.delta.compress();
            self.hands.figures.deltas.taken(&taken);
            taken.delta
        });
        let bytes = batch.body.len() as u64 + delta.as_ref().map_or(0, Delta::bytes);
        self.hands.log.push_back(Unsent { through, delta, steps: batch.body, asks: None });
        let said = outputs.into_iter().map(|(position, output)| (position, said(output))).collect();
        self.tell_one(Event::Recorded(Recorded { through, bytes, since_ns, said_ns: handed_over_ns, said }));
    }

    /// Sends a part of a seed.
    pub fn send(&mut self, link: Link, kind: FrameKind, body: &[u8]) {
        if let Some(wire) = self.hands.wire.as_mut().filter(|wire| wire.link == link) {
            wire.connection.send(kind, body);
        }
        self.flush();
    }

    /// True while some of a seed waits for the connection: neither its thread nor the vCPU thread is heard. Log is always
    /// heard: the peer's window bounds it.
    pub fn is_choked(&self) -> bool {
        let wire = self.hands.wire.as_ref().filter(|wire| !wire.streaming);
        wire.is_some_and(|wire| !wire.connection.takes_bulk())
    }

    /// More digests wait than are to be kept: the secondary is not heard, and that is not its fault.
    pub fn is_comparing_slowly(&self) -> bool {
        self.hands.seeding.as_ref().is_some_and(Seeding::is_full)
    }

    /// Tells people how things are. `tally` are the machine's counts.
    pub fn report(&mut self, tally: &machine::Tally) {
        for full in self.controller.take_dropped_outputs() {
            tracing::warn!("an output is dropped: {full}");
        }
        let Hands { figures, site, time_ns, .. } = &mut self.hands;
        figures.report(site, &self.controller, tally, *time_ns);
    }

    /// Something was left to be done that the link thread does.
    pub fn has_left_something(&self) -> bool {
        let unsent = self.hands.wire.as_ref().is_some_and(|wire| wire.connection.unsent() > 0);
        unsent || !self.hands.news.is_empty()
    }

    fn tell_one(&mut self, event: Event<Output, DiskRequest>) {
        let mut asked = Vec::new();
        self.controller.handle(event, boot_ns(), &mut asked);
        asked.into_iter().for_each(|effect| self.hands.carry_out(effect));
    }

    fn tell_news(&mut self) {
        while let Some(event) = self.hands.news.pop_front() {
            self.tell_one(event);
        }
    }
}

fn said(output: Output) -> Said<Output, DiskRequest> {
    match output {
        Output::Disk(request) => Said::Write(request),
        Output::Net { ref frame, .. } => Said::Output { bytes: frame.len() as u64, output },
        Output::Console(ref bytes) => Said::Output { bytes: bytes.len() as u64, output },
        Output::PowerOff(_) | Output::Reset(_) => Said::Output { bytes: 0, output },
    }
}
