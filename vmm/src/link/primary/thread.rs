//! The link thread: waits for whoever has something to say, and has the controller hear it.

use std::{net::TcpStream, sync::Arc, time::Duration};

use ftlog::Position;
use protocol::primary::controller::{Event, Glance};
use replay::trace::{self, Stage};
use rustix::event::{PollFd, PollFlags};

use super::{
    desk::{Desk, SharedDesk},
    hearing, letters,
    messages::{FromVcpu, Message},
    seeding::reading,
};
use crate::{
    host::{
        checkup::Checkup,
        clock::boot_ns,
        pulse::{Beat, Pulse},
    },
    link::{
        budget::Budget,
        mailbox::{Bell, Letters},
        wait::Wait,
    },
};

/// What it hears and looks at, beside the connection.
pub struct Ears {
    pub letters: Letters<Message>,
    pub vcpu_letters: Letters<FromVcpu>,
    /// How much the vCPU thread may have under way to this one.
    pub budget: Budget,
    pub pulse: Pulse,
    pub tally: machine::Tally,
}

/// All that belongs to it, but for the desk.
pub struct LinkThread {
    ears: Ears,
    wait: Wait,
    beat: Beat,
    beat_ns: u64,
    checkup: Checkup,
}

/// What can have something to say, as it is when the desk is left. By the time it does, the desk may have done with it: then
/// there is nothing to be heard of it.
struct Awaited {
    vcpu: bool,
    connection: Option<(Arc<TcpStream>, PollFlags)>,
    seeding: Option<Arc<Bell>>,
}

/// What has.
#[derive(Default)]
struct Ready {
    letters: bool,
    vcpu: bool,
    connection: bool,
    seeding: bool,
}

impl Awaited {
    fn of(desk: &Desk) -> Self {
        let connection = desk.hands.wire.as_ref().map(|wire| {
            let interest = match wire.connection.interest() {
                interest if desk.is_comparing_slowly() => interest - PollFlags::IN,
                interest => interest,
            };
            (wire.connection.socket(), interest)
        });
        Self {
            vcpu: !desk.is_choked(),
            connection: connection.filter(|(_, interest)| !interest.is_empty()),
            seeding: reading::to_hear(desk).map(|seeding| seeding.letters.bell().clone()),
        }
    }
}

impl LinkThread {
    /// A thread that hears with these.
    pub fn new(ears: Ears, wait: Wait) -> Self {
        Self { ears, wait, beat: Beat::default(), beat_ns: 0, checkup: Checkup::default() }
    }

    /// Runs until the vCPU thread has ended and what the guest said last has left or cannot. What is left is taken from the
    /// desk, which nobody uses after this.
    pub fn run(&mut self, shared: &SharedDesk) -> Option<Desk> {
        let mut ready = Ready::default();
        loop {
            let mut place = shared.lock();
            let desk = place.as_mut()?;
            self.serve(desk, &ready);
            if desk.controller.is_done() {
                return place.take();
            }
            let awaited = Awaited::of(desk);
            let patience = Duration::from_nanos(desk.hands.site.config.heartbeat_ns());
            drop(place);
            ready = self.wait(&awaited, patience);
            trace::mark(Stage::PrimaryWoken, Position(0));
        }
    }

    fn serve(&mut self, desk: &mut Desk, ready: &Ready) {
        // What the peer said comes before the clock: after a pause of this process it may show that all is well.
        if ready.connection || desk.is_comparing_slowly() {
            hearing::hear_peer(desk);
        }
        if ready.letters {
            letters::read_all(desk, &self.ears.letters);
        }
        if ready.vcpu {
            letters::read_from_vcpu(desk, &self.ears.vcpu_letters, &self.ears.budget);
        }
        if ready.seeding {
            reading::read_some(desk);
        }
        let glance = self.glance(desk);
        desk.tell(Event::Tick(glance));
        desk.flush();
        desk.report(&self.ears.tally);
    }

    fn wait<'a>(&'a self, awaited: &'a Awaited, patience: Duration) -> Ready {
        let mut watched = vec![PollFd::from_borrowed_fd(self.ears.letters.descriptor(), PollFlags::IN)];
        let mut watch = |fd: PollFd<'a>| {
            watched.push(fd);
            watched.len() - 1
        };
        let vcpu = awaited
            .vcpu
            .then(|| watch(PollFd::from_borrowed_fd(self.ears.vcpu_letters.descriptor(), PollFlags::IN)));
        let connection = awaited.connection.as_ref();
        let connection = connection.map(|(socket, interest)| watch(PollFd::new(socket, *interest)));
        let seeding = awaited.seeding.as_ref().map(|bell| watch(PollFd::new(bell, PollFlags::IN)));
        let known = self.wait.poll(&mut watched, patience);
        // Nothing that is served blocks, so when in doubt all of it is.
        let is_ready = |index: usize| !known || !watched[index].revents().is_empty();
        Ready {
            letters: is_ready(0),
            vcpu: vcpu.is_some_and(is_ready),
            connection: connection.is_some_and(is_ready),
            seeding: seeding.is_some_and(is_ready),
        }
    }

    /// How this side does. The vCPU thread is looked at a few times between two heartbeats, not at each wake-up.
    fn glance(&mut self, desk: &Desk) -> Glance {
        let hands = &desk.hands;
        let now_ns = boot_ns();
        if now_ns - self.beat_ns >= hands.site.config.heartbeat_ns() / 4 {
            (self.beat, self.beat_ns) = (self.ears.pulse.beat(), now_ns);
            hands.orders.kick_out_if_needed();
        }
        let outlets = &hands.site.outlets;
        Glance {
            vcpu_busy: self.beat.busy || hands.site.inbox.is_waited_for(),
            vcpu_progress: self.beat.progress,
            vcpu_steps: self.beat.steps,
            health: self.checkup.health(outlets, now_ns),
            write_waits: outlets.disks.fence().is_wanted(),
            disks_idle: outlets.disks.is_idle(),
        }
    }
}
