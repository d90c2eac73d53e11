//! Receiving whoever connects: one primary is let in, the others are told why not, and queries are answered.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, ensure};
use crossbeam_channel::{Receiver, Sender, unbounded};
use ftlog::{FrameKind, Hello, Message, Purpose, Report, VmId, Welcome};

use super::place::{Occupant, Place};
use crate::{
    control::{Board, Role, State},
    host::door::Door,
    identity::Presence,
    link::{
        Site,
        connection::Connection,
        handshake::{PATIENCE, refuse, software},
    },
};

/// Log that may wait here for its execution, bytes.
pub const WINDOW_BYTES: u64 = 32 << 20;
/// Handshakes at one time; more connections than that are closed unheard.
const MAX_VISITORS: usize = 16;
/// How long a primary waits for what is left of its own earlier session, and for disks that are busy with an earlier VM.
const REST: Duration = Duration::from_secs(1);

/// It still hears why it is turned away.
const _: () = assert!(REST.as_millis() < PATIENCE.as_millis());

/// A primary that was let in.
pub struct Offer {
    /// Its connection, after Welcome.
    pub connection: Connection,
    /// How it introduced itself.
    pub hello: Hello,
}

/// Listens on a thread of its own until the process ends.
pub struct Listener {
    offers: Receiver<Offer>,
    place: Arc<Place>,
    address: SocketAddr,
}

/// What a visitor's thread needs.
pub(super) struct Reception {
    pub(super) site: Site,
    /// Copies are overwritten whatever is lost by it.
    pub(super) force: bool,
    place: Arc<Place>,
    offers: Sender<Offer>,
    visitors: AtomicUsize,
}

impl Listener {
    /// Listens at `address` (ADDR:PORT, port 0 for any). With `force` this side's copies of disks are overwritten even
    /// where something is lost by it.
    pub fn start(address: &str, site: &Site, force: bool) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| format!("cannot listen at {address}"))?;
        let local = listener.local_addr()?;
        let (sender, offers) = unbounded();
        let place: Arc<Place> = Arc::default();
        let reception = Arc::new(Reception {
            site: site.clone(),
            force,
            place: place.clone(),
            offers: sender,
            visitors: AtomicUsize::new(0),
        });
        let mut door = Door::new(listener, "listener", site.board.clone())?;
        thread::Builder::new().name("listener".into()).spawn(move || {
            loop {
                reception.clone().receive(door.await_next());
            }
        })?;
        Ok(Self { offers, place, address: local })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Primaries that were let in.
    pub fn offers(&self) -> &Receiver<Offer> {
        &self.offers
    }

    /// Nothing is left of the primary that was let in last.
    pub fn let_in_the_next(&self) {
        self.place.set(None);
    }

    /// From now on this VM runs here, and primaries are turned away.
    pub fn keep_for(&self, vm: VmId) {
        self.place.set(Some(Occupant::Vm(vm)));
    }
}

impl Reception {
    fn receive(self: Arc<Self>, stream: TcpStream) {
        if self.visitors.fetch_add(1, Ordering::AcqRel) >= MAX_VISITORS {
            self.visitors.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let reception = self.clone();
        let spawned = thread::Builder::new().name("visitor".into()).spawn(move || {
            if let Err(error) = reception.greet(stream) {
                tracing::debug!("a visitor: {error:#}");
            }
            reception.visitors.fetch_sub(1, Ordering::AcqRel);
        });
        if spawned.is_err() {
            self.visitors.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn greet(&self, stream: TcpStream) -> anyhow::Result<()> {
        let mut connection = Connection::new(stream)?;
        let first = connection.receive_within(PATIENCE)?;
        ensure!(first.kind == FrameKind::Hello, "it begins with a {:?} frame", first.kind);
        let hello = Hello::decode(&first.body)?;
        match hello.purpose {
            Purpose::Query => {
                let json = serde_json::to_string(&self.site.board.snapshot())?;
                connection.send(FrameKind::Report, &Report { json }.encode()?);
                flush(&mut connection)
            }
            Purpose::Start => {
                let presence = self.presence(&hello.shape.name)?;
                if presence.runs || presence.holds {
                    let text = format!(
                        "{} wanted to start {}, which this side has: refused",
                        connection.peer(),
                        hello.shape.name
                    );
                    self.site.board.notice_once(text);
                }
                let json = serde_json::to_string(&presence)?;
                connection.send(FrameKind::Report, &Report { json }.encode()?);
                flush(&mut connection)
            }
            Purpose::Probe => self.say_whether(connection, &hello),
            Purpose::Protect => self.let_in(connection, hello),
        }
    }

    /// Whether it would be let in.
    fn say_whether(&self, mut connection: Connection, hello: &Hello) -> anyhow::Result<()> {
        if let Err(error) = self.check(hello).and_then(|()| self.is_free(hello)) {
            refuse(connection, &format!("{error:#}"));
            return Ok(());
        }
        connection.send(FrameKind::Welcome, &welcome(hello).encode()?);
        flush(&mut connection)
    }

    fn let_in(&self, mut connection: Connection, hello: Hello) -> anyhow::Result<()> {
        let refused = self.check(&hello).and_then(|()| self.occupy(&connection, &hello));
        if let Err(error) = refused {
            let reason = format!("{error:#}");
            note_refusal(&self.site.board, &connection.peer(), &reason);
            refuse(connection, &reason);
            return Ok(());
        }
        connection.send(FrameKind::Welcome, &welcome(&hello).encode()?);
        let offered = self.offers.send(Offer { connection, hello });
        offered.map_err(|_| anyhow!("this side is ending"))
    }

    /// Whether this side has the VM that somebody wants to start.
    fn presence(&self, name: &str) -> anyhow::Result<Presence> {
        let status = self.site.board.snapshot();
        let ours = status.name.as_deref() == Some(name);
        let runs =
            ours && status.role == Role::Primary && !matches!(status.state, State::Starting | State::Halted);
        let holds = ours && status.role == Role::Secondary && status.state != State::Listening;
        let latest = self.site.arbiter.latest(name)?;
        Ok(Presence::new(&self.site.holder, runs, holds, latest.as_ref()))
    }

    fn is_free(&self, hello: &Hello) -> anyhow::Result<()> {
        let deadline = Instant::now() + REST;
        let free = self.place.free_for(occupant(hello), deadline);
        drop(free.map_err(|theirs| self.busy_with(theirs))?);
        self.await_disks(deadline)
    }

    /// Keeps the place for it, as soon as nothing is left of whoever had it before.
    fn occupy(&self, connection: &Connection, hello: &Hello) -> anyhow::Result<()> {
        let deadline = Instant::now() + REST;
        let mut place =
            self.place.free_for(occupant(hello), deadline).map_err(|theirs| self.busy_with(theirs))?;
        // One that has given up meanwhile would be in the way of its own next attempt.
        ensure!(!connection.is_left(), "it has gone again");
        *place = Some(occupant(hello));
        drop(place);
        self.await_disks(deadline).inspect_err(|_| self.place.set(None))
    }

    fn await_disks(&self, deadline: Instant) -> anyhow::Result<()> {
        self.site.outlets.disks.await_rest(deadline.saturating_duration_since(Instant::now()))
    }

    fn busy_with(&self, theirs: Occupant) -> anyhow::Error {
        anyhow!("busy: {theirs}{}", self.what_keeps_it())
    }

    /// Why a secondary that has lost its primary is still none that could be given another.
    fn what_keeps_it(&self) -> String {
        if self.site.board.snapshot().state != State::Draining {
            return String::new();
        }
        let disks = self.site.outlets.disks.await_rest(Duration::ZERO).err();
        let disks = disks.map_or_else(String::new, |busy| format!(", and {busy}"));
        format!(", which has lost its primary and executes what it has of it{disks}")
    }
}

fn occupant(hello: &Hello) -> Occupant {
    Occupant::Primary { vm: hello.vm, generation: hello.generation }
}

fn welcome(hello: &Hello) -> Welcome {
    Welcome { software: software(), window_bytes: WINDOW_BYTES, cpu_table: hello.cpu_table }
}

fn note_refusal(board: &Board, peer: &str, reason: &str) {
    tracing::info!("{peer} is turned away: {reason}");
    board.update(|status| status.last_loss = Some(format!("{peer} was turned away: {reason}")));
}

fn flush(connection: &mut Connection) -> anyhow::Result<()> {
    connection.flush()?;
    ensure!(connection.unsent() == 0, "it does not read");
    Ok(())
}
