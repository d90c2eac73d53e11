//! The vCPU thread of a secondary: it executes what the link thread hands out.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, ensure};
use devices::{NetConfig, Off, Output};
use ftlog::{Delta, Generation, NetShape, Position, Step, StepsFrame};
use machine::{Machine, MachineError, kvm::Host, snapshot::Seed};
use protocol::commit::Unreleased;
use replay::replayed::{self, StepError};
use replay::{Difference, Divergence, StopSwitch};

use super::{
    messages::{GLANCE, GoLive, Report, Served, SessionEnd, Task},
    session::Session,
    takeover::take_over,
};
use crate::{
    disk,
    disk::stamp::StampState,
    host::{announce::Addresses, pulse::Pulse},
    identity::VmIdentity,
    link::{Site, mailbox::Mailbox},
};

/// The machine of a session, and what goes with it.
struct Replica<'a> {
    site: &'a Site,
    identity: VmIdentity,
    /// The primary's; this side's once it has won one.
    generation: Generation,
    machine: Option<Machine>,
    reports: Mailbox<Report>,
    unreleased: Arc<Mutex<Unreleased<Output>>>,
    quit: StopSwitch,
    pulse: Pulse,
    /// The addresses of the guest's network card, to announce them at a takeover.
    addresses: Option<Addresses>,
    outputs: Vec<Output>,
}

/// Executes a session to its end.
pub fn run(site: &Site, session: Session) -> anyhow::Result<SessionEnd> {
    let Session { tasks, reports, unreleased, hello, quit, pulse, thread } = session;
    let identity = VmIdentity { vm: hello.vm, shape: hello.shape, wall_base_ns: 0 };
    let addresses = identity.shape.net.map(|net| Addresses::of(net.mac));
    pulse.adopt();
    let primarys = hello.generation;
    let mut replica = Replica {
        site,
        identity,
        generation: primarys,
        machine: None,
        reports: reports.clone(),
        unreleased,
        quit,
        pulse,
        addresses,
        outputs: Vec::new(),
    };
    let end = loop {
        match tasks.recv_timeout(GLANCE) {
            Ok(task) => {
                if let Some(end) = replica.perform(task) {
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
        replica.note_end(primarys);
    }
    Ok(end)
}

impl Replica<'_> {
    fn perform(&mut self, task: Task) -> Option<SessionEnd> {
        self.pulse.set_busy(true);
        let end = match task {
            Task::Load(seed) => self.load(*seed),
            Task::Execute { batch, delta, bytes } => self.execute(batch, delta, bytes),
            Task::ShowMemory(key) => self.show_memory(key),
            Task::CatchUp => {
                self.reports.send(Report::CaughtUp);
                None
            }
            Task::GoLive(how) => self.go_live(&how),
            Task::Discard(reason) => Some(SessionEnd::Discarded(reason)),
            Task::End => self.powered_off().map(|off| SessionEnd::Served(Served::PoweredOff(off))),
        };
        self.pulse.step();
        self.pulse.set_busy(false);
        end
    }

    fn load(&mut self, seed: Seed) -> Option<SessionEnd> {
        self.identity.wall_base_ns = seed.manifest().wall_base_ns;
        let report = match self.make(seed) {
            Ok(machine) => {
                let (vm, time_ns, position) = (self.identity.vm, machine.time_ns(), machine.position());
                self.site.outlets.disks.begin_bases(vm, self.generation, time_ns);
                self.machine = Some(machine);
                Report::Loaded(position)
            }
            Err(error) => Report::Unusable(format!("{error:#}")),
        };
        self.reports.send(report);
        None
    }

    fn make(&self, seed: Seed) -> anyhow::Result<Machine> {
        let machine = seed.finish(&Host::open()?)?;
        let expected = disk::configs(&self.identity.shape.disks);
        ensure!(
            machine.platform().disks().map(|(_, config)| config).eq(&expected),
            "its disks are not those of the handshake"
        );
        let expected = self.identity.shape.net.map(|NetShape { mac, mtu }| NetConfig { mac, mtu });
        ensure!(machine.platform().net() == expected, "its network card is not that of the handshake");
        Ok(machine)
    }

    fn execute(&mut self, batch: StepsFrame, mut delta: Option<Delta>, bytes: u64) -> Option<SessionEnd> {
        // What was on its way when a step failed: that it failed is what is told.
        self.machine.as_ref()?;
        let mut position = batch.first;
        for step in &batch.steps {
            if self.quit.is_thrown() {
                return None;
            }
            if let Err(error) = self.step(position, step, delta.take()) {
                return self.failed(position, error);
            }
            self.keep_outputs(position);
            // What a session that ends has left undone is not in the copies.
            if !self.quit.is_thrown() {
                self.site.outlets.disks.come_to(position, step.time_ns);
            }
            self.pulse.step();
            position = position.next();
        }
        let machine = self.machine.as_ref()?;
        let through = machine.position();
        let executed = Report::Executed { through, bytes, time_ns: machine.time_ns() };
        if machine.platform().powered_off().is_some() {
            self.reports.send(Report::PoweredOff(through));
            self.reports.send(executed);
        } else {
            // Nobody waits for it while the primary is there: it goes with the next acknowledgement.
            self.reports.leave(executed);
        }
        None
    }

    fn step(&mut self, position: Position, step: &Step, delta: Option<Delta>) -> anyhow::Result<()> {
        // The guest hears that something is on its disk only when it is on this side's copy too.
        self.site.outlets.disks.await_copies(&step.events, &self.quit)?;
        let machine = self.machine.as_mut().context("there is no machine")?;
        replayed::step(machine, position, step, delta.as_ref(), &mut self.outputs, &self.quit)
    }

    fn failed(&mut self, position: Position, error: anyhow::Error) -> Option<SessionEnd> {
        let machine = self.machine.take();
        if matches!(error.downcast_ref(), Some(StepError::Stopped)) {
            // Why, the link thread has said or the stop switch tells.
            return None;
        }
        let report = match (error.downcast(), machine) {
            (Ok(divergence), _) => Report::Diverged(divergence),
            (Err(error), Some(machine)) if is_of_the_guest(&error) => {
                Report::Diverged(broken_down(position, &error, &machine))
            }
            (Err(error), _) => {
                let reason = format!("{error:#}");
                self.site.board.notice(format!("the VM cannot go on at {position}: {reason}"));
                Report::Failed { position, reason }
            }
        };
        self.reports.send(report);
        None
    }

    /// As it is when the next stretch begins.
    fn show_memory(&mut self, key: u64) -> Option<SessionEnd> {
        let machine = self.machine.as_mut()?;
        let (position, memory) = (machine.position(), machine.memory().clone());
        match machine.reset_if_wanted() {
            Ok(()) => {
                self.reports.send(Report::Shown(memory, key));
                None
            }
            Err(error) => self.failed(position, error.into()),
        }
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
            if let Output::Disk(request) = request
                && !self.quit.is_thrown()
            {
                self.site.outlets.disks.copy(request, &self.quit);
            }
        }
    }

    fn go_live(&mut self, how: &GoLive) -> Option<SessionEnd> {
        let machine = self.machine.take()?;
        let (live_ns, writes_from_ns) =
            take_over(self.site, &machine, self.addresses.as_ref(), &self.unreleased, how);
        self.generation = how.generation;
        if let Some(off) = machine.platform().powered_off() {
            // All that was left to do was to say its last words.
            return Some(SessionEnd::Served(Served::PoweredOff(off)));
        }
        Some(SessionEnd::Served(Served::TookOver {
            machine: Box::new(machine),
            identity: self.identity.clone(),
            generation: how.generation,
            live_ns,
            writes_from_ns,
        }))
    }

    fn powered_off(&self) -> Option<Off> {
        self.machine.as_ref()?.platform().powered_off()
    }

    /// The VM has ended in order: the copies of its disks say so, and the arbiter does, where the primary has not told it
    /// of its own generation.
    fn note_end(&self, primarys: Generation) {
        let mark = self.identity.mark(self.generation, StampState::Ended);
        if let Err(error) = self.site.outlets.disks.end(&mark) {
            let text = format!("the copies of the disks do not say that the VM has ended: {error}");
            self.site.board.notice(text);
        }
        if self.generation != primarys {
            self.site.end(&self.identity.shape.name, self.generation, "the guest switched itself off");
        }
    }
}

/// Whether the machine cannot go on because of what it has executed. The primary's could.
fn is_of_the_guest(error: &anyhow::Error) -> bool {
    error.is::<MachineError>() || matches!(error.downcast_ref(), Some(StepError::Endless { .. }))
}

/// The registers stand beside the reason, which need not have them.
fn broken_down(position: Position, error: &anyhow::Error, machine: &Machine) -> Divergence {
    let reason = error.to_string().lines().next().unwrap_or_default().to_owned();
    let replayed = Box::new(*machine.registers());
    Divergence { position, difference: Difference::Failed(reason), recorded: None, replayed }
}
