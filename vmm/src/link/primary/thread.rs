//! The link thread: hears the peer, the vCPU thread, the arbiter and the operator, and tells the core.

use std::{sync::Arc, thread, time::Duration};

use devices::{DiskRequest, Output};
use ftlog::{Generation, Position};
use hdrhistogram::Histogram;
use machine::Tally;
use protocol::{
    YIELD_NS,
    commit::{Gate, Limits},
    primary::{Event, PeerEvent, Phase, Primary},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    Origin, Site,
    connector::Connector,
    effects,
    messages::{FromVcpu, Message},
    orders::Orders,
    resync::Resync,
    streaming::{RegisterRing, Stream},
    watch::Watch,
    writes::Lease,
};
use crate::{
    control::Pending,
    host::clock::monotonic_ns,
    identity::VmIdentity,
    link::{
        mailbox::{Letters, Mailbox},
        rate::Rate,
    },
};

/// Above this much unsent the thread takes no more from the vCPU thread, which then waits.
const MAX_UNSENT: usize = 8 << 20;
/// How long the guest's last outputs may wait for their acknowledgement once it has switched off, ns.
const LAST_WORDS_NS: u64 = 2_000_000_000;

/// How often everything is looked at when it cannot be waited for.
const POLL_AGAIN: Duration = Duration::from_millis(1);

/// Where the machine stands when its link thread starts.
pub struct Start {
    /// The last sync point.
    pub position: Position,
    /// Virtual time there, ns.
    pub time_ns: u64,
    /// What it counts.
    pub tally: Tally,
}

/// Where a link thread stood when it ended.
pub struct Finish {
    /// The last generation it held.
    pub generation: Generation,
    /// No other side can go on with the VM.
    pub alone: bool,
}

/// Who has something to say.
#[derive(Default)]
pub struct Ready {
    pub letters: bool,
    pub vcpu: bool,
    pub connection: bool,
    pub resync: bool,
}

/// All that the link thread owns.
pub struct LinkThread {
    pub(super) site: Site,
    pub(super) identity: VmIdentity,
    pub(super) core: Primary,
    /// Who holds the last generation; none before a new VM has its first.
    pub(super) predecessor: Option<String>,
    pub(super) gate: Gate<Output>,
    /// Writes to shared disks. They are never dropped, and bounded before they come here.
    pub(super) write_gate: Gate<DiskRequest>,
    pub(super) lease: Lease,
    pub(super) stream: Option<Stream>,
    /// While the secondary's disks are made equal to ours.
    pub(super) resync: Option<Resync>,
    pub(super) connector: Connector,
    pub(super) watch: Watch,
    pub(super) orders: Arc<Orders>,
    pub(super) mailbox: Mailbox<Message>,
    pub(super) letters: Letters<Message>,
    pub(super) vcpu_letters: Letters<FromVcpu>,
    pub(super) next_link: u32,
    pub(super) registers: RegisterRing,
    pub(super) recorded: Position,
    pub(super) released: Position,
    pub(super) time_ns: u64,
    pub(super) log_bytes: u64,
    pub(super) commit_delay: Histogram<u64>,
    pub(super) lags: Histogram<u64>,
    pub(super) tally: Tally,
    /// When the VM ran live after a takeover, until it has said something.
    pub(super) awaiting_first_output: Option<u64>,
    /// A command that is answered when the core has let go of the secondary, with the peer to look for then.
    pub(super) detaching: Option<(Pending, Option<String>)>,
    /// Never again: the core is not asked any more.
    pub(super) halted: bool,
    /// The peer to go back to on `resume`.
    pub(super) suspended: Option<String>,
    pub(super) failing: Option<(Pending, String)>,
    pub(super) vcpu_ended: bool,
    /// Since when the TAP device has been gone, ns.
    pub(super) net_lost_ns: Option<u64>,
    /// The generation for which protection was announced.
    pub(super) protected_noted: Option<Generation>,
    pub(super) rate: Rate,
    pub(super) reported_ns: u64,
    ending_since_ns: Option<u64>,
}

impl LinkThread {
    #[allow(
        clippy::too_many_arguments,
        reason = "called once; each is a different thing that the thread owns"
    )]
    pub fn new(
        site: Site,
        identity: VmIdentity,
        origin: Origin,
        start: Start,
        peer: Option<String>,
        orders: Arc<Orders>,
        mailbox: Mailbox<Message>,
        letters: Letters<Message>,
        vcpu_letters: Letters<FromVcpu>,
    ) -> Self {
        let mut first = Vec::new();
        let config = site.config.clone();
        let (core, predecessor, awaiting_first_output) = match origin {
            Origin::Started(permission) => {
                let yield_ns = if permission.yields { YIELD_NS } else { 0 };
                (Primary::create(config, permission.previous, yield_ns, &mut first), permission.after, None)
            }
            Origin::TookOver { generation, live_ns } => {
                let core = Primary::after_takeover(config, generation, &mut first);
                (core, Some(site.holder.to_string()), Some(live_ns))
            }
        };
        // The core stops the vCPU at these limits; what was on its way by then must still find room.
        let limits = Limits {
            outputs: site.config.held_outputs as usize * 2,
            bytes: site.config.held_bytes.saturating_mul(2),
        };
        let mut thread = Self {
            site,
            identity,
            core,
            predecessor,
            gate: Gate::new(limits),
            write_gate: Gate::new(Limits { outputs: usize::MAX, bytes: u64::MAX }),
            lease: Lease::default(),
            stream: None,
            resync: None,
            connector: Connector::new(peer),
            watch: Watch::default(),
            orders,
            mailbox,
            letters,
            vcpu_letters,
            next_link: 0,
            registers: RegisterRing::new(),
            recorded: start.position,
            released: start.position,
            time_ns: start.time_ns,
            log_bytes: 0,
            commit_delay: effects::new_histogram(),
            lags: effects::new_lags(),
            tally: start.tally,
            awaiting_first_output,
            detaching: None,
            halted: false,
            suspended: None,
            protected_noted: None,
            rate: Rate::default(),
            reported_ns: 0,
            ending_since_ns: None,
            failing: None,
            vcpu_ended: false,
            net_lost_ns: None,
        };
        effects::carry_out(&mut thread, first);
        thread
    }

    /// The way to tell the vCPU thread.
    pub fn orders(&self) -> Arc<Orders> {
        self.orders.clone()
    }

    /// Runs until the vCPU thread has ended; gives where it stood then.
    pub fn run(mut self) -> anyhow::Result<Finish> {
        self.site.board.update(|status| {
            status.name = Some(self.identity.shape.name.clone());
            status.vm = Some(self.identity.vm.to_string());
        });
        self.report();
        while !self.is_done() {
            let ready = self.wait()?;
            // What the peer said comes before the clock: after a pause of this process it may show that all is well.
            if ready.connection || self.is_comparing_slowly() {
                self.hear_peer();
            }
            self.read_letters(&ready);
            if ready.resync {
                self.read_resync();
            }
            self.tell(Event::Tick);
            self.watch_network();
            self.watch_arbiter();
            self.renew_lease();
            self.seek_peer();
            self.flush();
            self.report();
        }
        self.leave_disks();
        let finish =
            Finish { generation: self.core.generation(), alone: self.core.phase() == Phase::Unprotected };
        self.end();
        Ok(finish)
    }

    /// The vCPU thread has ended, and what the guest said last has left or cannot.
    fn is_done(&mut self) -> bool {
        let said_all = self.gate.outputs() == 0 && self.site.outlets.disks.is_idle();
        if !self.vcpu_ended || self.halted || said_all {
            return self.vcpu_ended;
        }
        let since_ns = *self.ending_since_ns.get_or_insert_with(monotonic_ns);
        monotonic_ns() - since_ns > LAST_WORDS_NS
    }

    fn wait(&self) -> anyhow::Result<Ready> {
        let timeout = Timespec::try_from(Duration::from_nanos(self.site.config.heartbeat_ns()))?;
        let mut watched = vec![PollFd::from_borrowed_fd(self.letters.descriptor(), PollFlags::IN)];
        let vcpu = (!self.is_choked()).then(|| {
            watched.push(PollFd::from_borrowed_fd(self.vcpu_letters.descriptor(), PollFlags::IN));
            watched.len() - 1
        });
        let connection = self.stream.as_ref().and_then(|stream| {
            let interest = match stream.connection.interest() {
                interest if self.is_comparing_slowly() => interest - PollFlags::IN,
                interest => interest,
            };
            if interest.is_empty() {
                return None;
            }
            watched.push(PollFd::new(&stream.connection, interest));
            Some(watched.len() - 1)
        });
        let resync = self.resync_to_hear().map(|resync| {
            watched.push(PollFd::from_borrowed_fd(resync.descriptor(), PollFlags::IN));
            watched.len() - 1
        });
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Ready::default()),
            // Such as that the host has no memory now, or allows fewer descriptors than these. Nothing here blocks, so
            // all of them are looked at.
            Err(_) => {
                thread::sleep(POLL_AGAIN);
                return Ok(Ready { letters: true, vcpu: vcpu.is_some(), connection: true, resync: true });
            }
        }
        let is_ready = |index: usize| !watched[index].revents().is_empty();
        Ok(Ready {
            letters: is_ready(0),
            vcpu: vcpu.is_some_and(is_ready),
            connection: connection.is_some_and(is_ready),
            resync: resync.is_some_and(is_ready),
        })
    }

    /// True while so much waits for the connection that the vCPU thread is not heard.
    pub(super) fn is_choked(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.connection.unsent() > MAX_UNSENT)
    }

    /// Tells the core and does what it asks.
    pub(super) fn tell(&mut self, event: Event) {
        if self.halted {
            return;
        }
        let mut asked = Vec::new();
        self.core.handle(event, monotonic_ns(), &mut asked);
        effects::carry_out(self, asked);
    }

    pub(super) fn note_loss(&self, reason: String) {
        let known = self.site.board.snapshot().last_loss.as_ref() == Some(&reason);
        if !known {
            self.site.board.notice(reason.clone());
            self.site.board.update(|status| status.last_loss = Some(reason));
        }
    }

    pub(super) fn flush(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let link = stream.link;
        if let Err(error) = stream.connection.flush() {
            self.tell_peer_event(link, PeerEvent::Lost(error.into()));
        }
    }
}
