//! The vCPU thread of a secondary: it executes what the link thread hands out.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use devices::{NetConfig, Output};
use ftlog::{Generation, NetShape, Position, Step, StepsFrame};
use machine::{Machine, kvm::Host, snapshot::Seed};
use protocol::{Recovery, arbiter::ClaimOutcome, commit::Unreleased};
use replay::Divergence;
use replay::replayed::{self, StepError};

use super::{Served, copies::Writer, session::Session};
use crate::{
    disk::{self, Making, stamp::StampState},
    host::announce::Addresses,
    identity::VmIdentity,
    link::{mailbox::Mailbox, primary::Site},
};

/// What the link thread wants done.
pub enum Task {
    /// Make the machine.
    Load(Box<Seed>),
    /// Execute these steps.
    Execute {
        /// The steps.
        batch: StepsFrame,
        /// The frame's body, bytes.
        bytes: u64,
    },
    /// Everything is executed and the arbiter has decided: be the VM.
    GoLive {
        /// The generation won.
        generation: Generation,
        /// The last position of the log.
        from: Position,
        /// When the parts of the takeover happened.
        recovery: Option<Recovery>,
        /// Why the primary was counted as lost.
        loss: String,
    },
    /// Throw the machine away.
    Discard(String),
}

/// What the link thread is told.
pub enum Report {
    /// The machine is made, at this position.
    Loaded {
        /// The position.
        position: Position,
    },
    /// A batch is executed.
    Executed {
        /// Its last position.
        through: Position,
        /// Its frame's body, bytes.
        bytes: u64,
        /// Virtual time there, ns.
        time_ns: u64,
    },
    /// The machine did something else than the primary's.
    Diverged(Divergence),
    /// The machine cannot go on.
    Failed {
        /// Where.
        position: Position,
        /// Why.
        reason: String,
    },
    /// A block was written to a disk, so that another may come.
    Room,
    /// The arbiter answered.
    Claimed(Generation, ClaimOutcome),
    /// The vCPU thread is done with this session.
    Ended,
}

/// How a session ended.
pub enum SessionEnd {
    /// This side is no secondary any more.
    Served(Served),
    /// It can follow another primary.
    Discarded(String),
}

/// The machine of a session, and what goes with it.
pub(super) struct Replica<'a> {
    pub(super) site: &'a Site,
    pub(super) identity: VmIdentity,
    /// The primary's.
    generation: Generation,
    /// For how long the primary may write shared disks after we have answered it, ns.
    pub(super) lease_ns: u64,
    pub(super) machine: Option<Machine>,
    reports: Mailbox<Report>,
    pub(super) unreleased: Arc<Mutex<Unreleased<Output>>>,
    /// Whoever writes the disks, until the machine is made.
    writer: Option<Writer>,
    /// The addresses of the guest's network card, to announce them at a takeover.
    pub(super) addresses: Option<Addresses>,
    outputs: Vec<Output>,
}

/// Executes a session to its end.
pub fn run(site: &Site, session: Session) -> anyhow::Result<SessionEnd> {
    let Session { tasks, reports, unreleased, hello, thread, writer } = session;
    let (lease_ns, generation) = (hello.lease_ns, hello.generation);
    let identity = VmIdentity { vm: hello.vm, shape: hello.shape, wall_base_ns: 0 };
    let addresses = identity.shape.net.map(|net| Addresses::of(net.mac));
    let mut replica = Replica {
        site,
        identity,
        generation,
        lease_ns,
        machine: None,
        reports: reports.clone(),
        unreleased,
        writer,
        addresses,
        outputs: Vec::new(),
    };
    let end = loop {
        match tasks.recv_timeout(super::GLANCE) {
            Ok(task) => {
                if let Some(end) = replica.perform(task)? {
                    break end;
                }
            }
            Err(error) if error.is_disconnected() => anyhow::bail!("the link thread has ended"),
            Err(_) => {}
        }
        if site.stop.is_thrown() {
            break SessionEnd::Served(Served::Stopped);
        }
    };
    site.outlets.disks.end_bases();
    reports.send(Report::Ended);
    let _ = thread.join();
    if matches!(end, SessionEnd::Served(Served::PoweredOff(_))) {
        let mark = replica.identity.mark(generation, StampState::Ended);
        if let Err(error) = site.outlets.disks.end(&mark) {
            site.board.notice(format!("the copies of the disks do not say that the VM has ended: {error}"));
        }
    }
    // The next VM finds its disks at rest.
    if let Some(Err(error)) = replica.finish_disks() {
        tracing::debug!("{error:#}");
    }
    Ok(end)
}

impl Replica<'_> {
    fn perform(&mut self, task: Task) -> anyhow::Result<Option<SessionEnd>> {
        match task {
            Task::Load(seed) => self.load(*seed),
            Task::Execute { batch, bytes } => return Ok(self.execute(batch, bytes)),
            Task::GoLive { generation, from, recovery, loss } => {
                return Ok(self.go_live(generation, from, recovery, loss));
            }
            Task::Discard(reason) => return Ok(Some(SessionEnd::Discarded(reason))),
        }
        Ok(None)
    }

    fn load(&mut self, seed: Seed) {
        self.identity.wall_base_ns = seed.manifest().wall_base_ns;
        let position = seed.manifest().position;
        let disks = self.finish_disks().unwrap_or_else(|| Ok(Vec::new()));
        let made = disks.and_then(|made| {
            for made in made {
                made.finish()?;
            }
            let machine = seed.finish(&Host::open()?)?;
            let expected = disk::configs(&self.identity.shape.disks);
            anyhow::ensure!(
                machine.platform().disks().map(|(_, config)| config).eq(&expected),
                "the seed's disks are not those of the handshake"
            );
            let expected = self.identity.shape.net.map(|NetShape { mac, mtu }| NetConfig { mac, mtu });
            anyhow::ensure!(
                machine.platform().net() == expected,
                "the seed's network card is not that of the handshake"
            );
            Ok(machine)
        });
        match made {
            Ok(machine) => {
                let (vm, time_ns) = (self.identity.vm, machine.time_ns());
                self.site.outlets.disks.begin_bases(vm, self.generation, time_ns);
                self.machine = Some(machine);
                self.reports.send(Report::Loaded { position });
            }
            Err(error) => {
                let reason = format!("{error:#}");
                self.site.board.notice(format!("the seed cannot be used: {reason}"));
                self.reports.send(Report::Failed { position, reason });
            }
        }
    }

    /// Waits until this side's disks hold what they were sent, safely.
    fn finish_disks(&mut self) -> Option<anyhow::Result<Vec<Making>>> {
        let written = self.writer.take()?.join();
        Some(written.unwrap_or_else(|_| Err(anyhow::anyhow!("the thread that writes the disks panicked"))))
    }

    fn execute(&mut self, batch: StepsFrame, bytes: u64) -> Option<SessionEnd> {
        let mut position = batch.first;
        for step in &batch.steps {
            if let Err(error) = self.step(position, step) {
                return self.failed(position, error);
            }
            self.keep_outputs(position);
            self.site.outlets.disks.come_to(position, step.time_ns);
            position = position.next();
        }
        let machine = self.machine.as_ref()?;
        let through = machine.position();
        self.reports.send(Report::Executed { through, bytes, time_ns: machine.time_ns() });
        machine.platform().powered_off().map(|off| SessionEnd::Served(Served::PoweredOff(off)))
    }

    fn step(&mut self, position: Position, step: &Step) -> anyhow::Result<()> {
        // The guest hears that something is on its disk only when it is on this side's copy too.
        self.site.outlets.disks.await_copies(&step.events)?;
        let machine = self.machine.as_mut().context("there is no machine")?;
        replayed::step(machine, position, step, &mut self.outputs, &self.site.stop)
    }

    fn failed(&mut self, position: Position, error: anyhow::Error) -> Option<SessionEnd> {
        self.machine = None;
        if matches!(error.downcast_ref(), Some(StepError::Stopped)) {
            return Some(SessionEnd::Served(Served::Stopped));
        }
        match error.downcast() {
            Ok(divergence) => self.reports.send(Report::Diverged(divergence)),
            Err(error) => {
                let reason = format!("{error:#}");
                self.site.board.notice(format!("the VM cannot go on at {position}: {reason}"));
                self.reports.send(Report::Failed { position, reason })
            }
        };
        None
    }

    fn keep_outputs(&mut self, position: Position) {
        if self.outputs.is_empty() {
            return;
        }
        self.copy_requests();
        let mut unreleased = self.unreleased.lock().unwrap_or_else(PoisonError::into_inner);
        for output in self.outputs.drain(..) {
            let bytes = match &output {
                Output::Net { frame, .. } => {
                    self.addresses.iter_mut().for_each(|addresses| addresses.learn(frame));
                    frame.len()
                }
                Output::Console(bytes) => bytes.len(),
                Output::Reset(cause) => {
                    self.site.board.notice_once(cause.to_string());
                    continue;
                }
                Output::Disk(_) | Output::PowerOff(_) => continue,
            };
            unreleased.push(position, bytes as u64, output);
        }
    }

    fn copy_requests(&mut self) {
        for request in self.outputs.extract_if(.., |output| matches!(output, Output::Disk(_))) {
            if let Output::Disk(request) = request {
                self.site.outlets.disks.copy(request);
            }
        }
    }
}
