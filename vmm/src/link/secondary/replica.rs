//! The vCPU thread of a secondary: it executes what the link thread hands out.

use std::sync::{Arc, Mutex, PoisonError};

use devices::Output;
use ftlog::{Generation, Position, StepsFrame};
use replay::Divergence;

use super::{Served, session::Session};
use crate::{
    arbiter::ClaimOutcome,
    commit::Unreleased,
    control::Takeover,
    host::clock::monotonic_ns,
    kvm::Host,
    link::{announce, identity::VmIdentity, mailbox::Mailbox, primary::Site},
    machine::Machine,
    role::Recovery,
    snapshot::Seed,
    step::replayed::{self, StepError},
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
    },
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

struct Replica<'a> {
    site: &'a Site,
    identity: VmIdentity,
    machine: Option<Machine>,
    reports: Mailbox<Report>,
    unreleased: Arc<Mutex<Unreleased<Output>>>,
    /// The guest's address, learnt from what it says, to announce it at a takeover.
    address: Option<[u8; 4]>,
    outputs: Vec<Output>,
}

/// Executes a session to its end.
pub fn run(site: &Site, session: Session) -> anyhow::Result<SessionEnd> {
    let Session { tasks, reports, unreleased, hello, thread } = session;
    let identity = VmIdentity { vm: hello.vm, shape: hello.shape, wall_base_ns: 0 };
    let mut replica = Replica {
        site,
        identity,
        machine: None,
        reports: reports.clone(),
        unreleased,
        address: None,
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
    reports.send(Report::Ended);
    let _ = thread.join();
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
        let made = Host::open().map_err(anyhow::Error::from).and_then(|host| Ok(seed.finish(&host)?));
        match made {
            Ok(machine) => {
                self.machine = Some(machine);
                self.reports.send(Report::Loaded { position });
            }
            Err(error) => {
                self.site.board.notice(format!("the seed cannot be used: {error:#}"));
                self.reports.send(Report::Failed { position });
            }
        }
    }

    fn execute(&mut self, batch: StepsFrame, bytes: u64) -> Option<SessionEnd> {
        let mut position = batch.first;
        for step in &batch.steps {
            let machine = self.machine.as_mut()?;
            if let Err(error) = replayed::step(machine, position, step, &mut self.outputs, &self.site.stop) {
                return self.failed(position, error);
            }
            self.keep_outputs(position);
            position = position.next();
        }
        let machine = self.machine.as_ref()?;
        let through = machine.position();
        self.reports.send(Report::Executed { through, bytes, time_ns: machine.time_ns() });
        machine.platform().powered_off().map(|status| SessionEnd::Served(Served::PoweredOff(status)))
    }

    fn failed(&mut self, position: Position, error: anyhow::Error) -> Option<SessionEnd> {
        self.machine = None;
        if matches!(error.downcast_ref(), Some(StepError::Stopped)) {
            return Some(SessionEnd::Served(Served::Stopped));
        }
        match error.downcast() {
            Ok(divergence) => self.reports.send(Report::Diverged(divergence)),
            Err(error) => {
                self.site.board.notice(format!("the VM cannot go on at {position}: {error:#}"));
                self.reports.send(Report::Failed { position })
            }
        };
        None
    }

    fn keep_outputs(&mut self, position: Position) {
        if self.outputs.is_empty() {
            return;
        }
        let mut unreleased = self.unreleased.lock().unwrap_or_else(PoisonError::into_inner);
        for output in self.outputs.drain(..) {
            let bytes = match &output {
                Output::Net { frame, .. } => {
                    self.address = announce::source_address(frame).or(self.address);
                    frame.len()
                }
                Output::Console(bytes) => bytes.len(),
                Output::PowerOff { .. } => continue,
            };
            unreleased.push(position, bytes as u64, output);
        }
    }

    /// From here on this side is the VM: it hears and speaks for itself.
    fn go_live(
        &mut self,
        generation: Generation,
        from: Position,
        recovery: Option<Recovery>,
        loss: String,
    ) -> Option<SessionEnd> {
        let machine = self.machine.take()?;
        assert_eq!(machine.position(), from, "the machine stands where the log ends");
        self.site.inbox.clear();
        if let Some(tap) = &self.site.outlets.tap {
            if let Err(error) = tap.discard_waiting() {
                tracing::warn!(%error, "frames from before the takeover may reach the guest");
            }
            if let Some(mac) = self.identity.shape.net_mac {
                announce::announce(tap, mac, self.address);
            }
        }
        let again = self.unreleased.lock().unwrap_or_else(PoisonError::into_inner).take();
        again.into_iter().for_each(|output| self.site.outlets.emit(output));
        let live_ns = monotonic_ns();
        self.tell_takeover(generation, recovery, loss, live_ns);
        let identity = self.identity.clone();
        Some(SessionEnd::Served(Served::TookOver {
            machine: Box::new(machine),
            identity,
            generation,
            live_ns,
        }))
    }

    fn tell_takeover(
        &self,
        generation: Generation,
        recovery: Option<Recovery>,
        reason: String,
        live_ns: u64,
    ) {
        let Some(recovery) = recovery else { return };
        let drained_ns = recovery.drained_ns.unwrap_or(recovery.detected_ns);
        let won_ns = recovery.won_ns.unwrap_or(drained_ns);
        let ms = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e6;
        let takeover = Takeover {
            reason,
            generation: generation.0,
            detection_ms: ms(recovery.heard_ns, recovery.detected_ns),
            drain_ms: ms(recovery.detected_ns, drained_ns),
            arbitration_ms: ms(drained_ns, won_ns),
            resume_ms: ms(won_ns, live_ns),
            first_output_ms: None,
            total_ms: ms(recovery.heard_ns, live_ns),
        };
        self.site.board.notice(format!(
            "taking over: live {:.1} ms after the primary was last heard",
            takeover.total_ms
        ));
        self.site.board.update(|status| status.takeover = Some(takeover));
    }
}
