//! The beginning of a session: its threads, and what is between them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crossbeam_channel::{Receiver, bounded, unbounded};
use devices::Output;
use ftlog::Hello;
use machine::VcpuThread;
use protocol::{
    commit::{Limits, Unreleased},
    secondary::follower::{Follower, Introduction},
};
use replay::StopSwitch;

use super::{
    arrival::Arrival,
    attic::Attic,
    copies::Copies,
    gauge::Gauge,
    listener::WINDOW_BYTES,
    messages::{Report, Task},
    peer::Peer,
    report::Reporter,
    thread::LinkThread,
};
use crate::{
    disk::stamp::StampState,
    host::{
        clock::boot_ns,
        pulse::Pulse,
        reserve::{self, Handle},
    },
    identity::VmIdentity,
    link::{
        Site,
        connection::Connection,
        mailbox::{Mailbox, mailbox},
    },
};

/// Outputs kept to be said again at a takeover.
const UNRELEASED: Limits = Limits { outputs: 8192, bytes: 16 << 20 };

/// What the vCPU thread gets of a session.
pub struct Session {
    /// What to execute.
    pub tasks: Receiver<Task>,
    /// Where to say how it went.
    pub reports: Mailbox<Report>,
    /// What the guest said and the primary may not have let out.
    pub unreleased: Arc<Mutex<Unreleased<Output>>>,
    /// How the primary introduced itself.
    pub hello: Hello,
    /// Thrown when nothing more is to be executed, whatever waits.
    pub quit: StopSwitch,
    /// Where the vCPU thread shows that it moves.
    pub pulse: Pulse,
    /// Ends after the vCPU thread has said that it is done.
    pub thread: Handle<()>,
}

impl Session {
    /// Everything of a session that can fail, for a primary that was let in; `vcpu` is the calling thread, and `attic` has what was kept of an
    /// earlier session. It begins when
    /// the link thread is given the connection.
    ///
    /// # Errors
    /// The host's, and that the disks are still busy with an earlier VM.
    pub fn prepare(
        site: &Site,
        hello: Hello,
        vcpu: VcpuThread,
        attic: Attic,
    ) -> anyhow::Result<(Self, impl FnOnce(Connection))> {
        // The listener has waited for it, and nobody has asked them for anything since.
        site.outlets.disks.replay(Duration::ZERO)?;
        let (tasks_in, tasks) = unbounded();
        let (reports, letters) = mailbox()?;
        let (give, take) = bounded::<LinkThread>(1);
        let thread = reserve::spawn("link", move || take.iter().for_each(LinkThread::run))?;
        let identity = VmIdentity { vm: hello.vm, shape: hello.shape.clone(), wall_base_ns: 0 };
        let mark = identity.mark(hello.generation, StampState::Follower);
        let (disks, board) = (&site.outlets.disks, site.board.clone());
        let copies = Copies::start(disks, &mark, &hello.disks, reports.clone(), board)?;
        let introduction = Introduction {
            generation: hello.generation,
            lease_ns: hello.lease_ns,
            has_copies: copies.is_some(),
            memory_mib: hello.shape.memory_mib,
        };
        let pulse = Pulse::default();
        let gauge = Gauge::new(site.outlets.clone(), pulse.clone());
        let session = Self {
            tasks,
            reports: reports.clone(),
            unreleased: Arc::new(Mutex::new(Unreleased::new(UNRELEASED))),
            hello: hello.clone(),
            quit: StopSwitch::default(),
            pulse,
            thread,
        };
        let (site, unreleased, quit) = (site.clone(), session.unreleased.clone(), session.quit.clone());
        let begin = move |connection| {
            let follower = Follower::new(&site.config, introduction, WINDOW_BYTES, boot_ns());
            let link = LinkThread {
                site,
                identity,
                primary_holder: hello.holder,
                follower,
                peer: Peer::new(connection),
                arrival: Arrival::new(copies, attic),
                divergence: None,
                gauge,
                reporter: Reporter::default(),
                tasks: tasks_in,
                reports,
                letters,
                unreleased,
                quit,
                vcpu,
                more_to_hear: false,
                settled: false,
                done: false,
            };
            let _ = give.send(link);
        };
        Ok((session, begin))
    }
}
