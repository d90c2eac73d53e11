//! The vCPU thread's side: record every step, hand it to the link thread in time, and obey.

use std::{sync::Arc, thread, time::Duration};

use devices::Output;
use ftlog::{FrameKind, Position, RegisterFile, StepRef, pages};
use machine::{Machine, transfer::Transfer};
use protocol::{MAX_HEARTBEAT_NS, primary::Link};
use replay::{
    Recorder, Witness,
    trace::{self, Stage},
};

use super::{
    brake::Brake,
    followed::{Followed, Way},
    messages::{FromVcpu, Stretch, Taken},
    orders::{Halted, Order, Orders, Stop},
    outbox::Outbox,
    seeding::send_changes,
    stop::StopParts,
};
use crate::{disk::Disks, host::clock::boot_ns, identity::VmIdentity};

/// Records older than this are handed over even when nobody waits for them, so that the secondary stays close. It is
/// also how often a busy guest without outputs costs both hosts a wake-up and a packet each way: about as often as an
/// idle one, since where log goes no heartbeat is due.
const MAX_AGE_NS: u64 = MAX_HEARTBEAT_NS / 5 * 4;
/// The pause before each stretch of a VM whose secondary falls behind.
const SLOW_PAUSE: Duration = Duration::from_millis(1);

/// Records the machine for its link thread.
pub struct Recorded {
    identity: VmIdentity,
    outbox: Outbox,
    orders: Arc<Orders>,
    followed: Arc<Followed>,
    disks: Arc<Disks>,
    recorder: Recorder,
    /// What leads to the first step of the batch, if that is a forced position.
    delta: Option<Taken>,
    /// When the first step of the batch was recorded, ns.
    since_ns: u64,
    registers: Vec<RegisterFile>,
    outputs: Vec<(Position, Output)>,
    time_ns: u64,
    handed_over_time_ns: u64,
    brake: Brake,
}

impl Recorded {
    /// A witness whose first step comes after `position`.
    pub fn new(
        identity: VmIdentity,
        outbox: Outbox,
        (orders, followed): (Arc<Orders>, Arc<Followed>),
        disks: Arc<Disks>,
        position: Position,
    ) -> Self {
        Self {
            identity,
            outbox,
            orders,
            followed,
            disks,
            recorder: Recorder::after(position),
            delta: None,
            since_ns: 0,
            registers: Vec::new(),
            outputs: Vec::new(),
            time_ns: 0,
            handed_over_time_ns: 0,
            brake: Brake::default(),
        }
    }

    /// Does what the orders say until they say to run.
    pub fn obey(&mut self, machine: &mut Machine) -> anyhow::Result<()> {
        while self.orders.is_special() {
            match self.orders.next() {
                Order::Run => return self.brake.apply(&self.orders, &self.outbox),
                Order::RunSlowly => {
                    self.hand_over()?;
                    thread::sleep(SLOW_PAUSE);
                    return Ok(());
                }
                Order::Seed(stop) => {
                    if !machine.is_at_rest()? {
                        self.orders.seed_later(stop);
                        return Ok(());
                    }
                    self.hand_over()?;
                    self.seed(machine, stop)?;
                }
                Order::Wait => {
                    self.hand_over()?;
                    self.outbox.waiting(|| self.orders.wait());
                }
                Order::Halt(halted) => return Err(halted.into()),
            }
        }
        Ok(())
    }

    /// Hands over what is left and says good-bye.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        self.hand_over()?;
        let told = self.outbox.tell(0, FromVcpu::Ended);
        self.outbox.pulse.set_busy(false);
        told
    }

    /// The stop: what is left of a seed. The guest runs on when that is handed over.
    fn seed(&mut self, machine: &mut Machine, stop: Stop) -> anyhow::Result<()> {
        let Stop { link, generation, mut transfer, asked_ns } = stop;
        let mut parts = StopParts::begin(asked_ns);
        self.outbox.tell(0, FromVcpu::SeedStarted(link, machine.position()))?;
        // What the files hold is part of the state: nothing may be on its way to them.
        if !self.disks.wait_idle() {
            return Ok(());
        }
        parts.disks_idle();
        if let Err(error) = self.send_rest(&mut transfer, link, &mut parts) {
            return match error.downcast::<Halted>() {
                Ok(halted) => Err(halted.into()),
                Err(error) => self.outbox.tell(0, FromVcpu::SeedFailed(link, format!("{error:#}"))),
            };
        }
        self.disks.begin_bases(self.identity.vm, generation, machine.time_ns());
        let state = machine.save()?.encode();
        self.outbox.tell(state.len() as u64, FromVcpu::SeedFrame(link, FrameKind::State, state))?;
        parts.state_sent();
        self.followed.begin(link, *transfer, machine.time_ns());
        self.outbox.tell(0, FromVcpu::SeedSent(link, parts.end()))
    }

    /// What the guest has written since the last round.
    fn send_rest(&self, transfer: &mut Transfer, link: Link, parts: &mut StopParts) -> anyhow::Result<()> {
        let mut copies = self.disks.copies()?;
        send_changes(&mut copies, &mut |body| {
            self.outbox.tell(body.len() as u64, FromVcpu::SeedFrame(link, FrameKind::DiskBlock, body))
        })?;
        parts.blocks_sent();
        transfer.take_rest()?;
        while let Some(body) = transfer.next_of_rest() {
            parts.pages += u64::from(pages::count(&body));
            self.outbox.tell(body.len() as u64, FromVcpu::SeedFrame(link, FrameKind::Pages, body))?;
        }
        parts.pages_sent();
        Ok(())
    }

    fn hand_over(&mut self) -> anyhow::Result<()> {
        let Some(batch) = self.recorder.take_batch() else { return Ok(()) };
        let last = batch.last;
        trace::mark(Stage::Closed, last);
        self.handed_over_time_ns = self.time_ns;
        let stretch = Stretch {
            batch,
            delta: self.delta.take(),
            registers: std::mem::take(&mut self.registers),
            outputs: std::mem::take(&mut self.outputs),
            time_ns: self.time_ns,
            since_ns: self.since_ns,
            handed_over_ns: boot_ns(),
        };
        self.outbox.give(stretch)
    }
}

impl Witness for Recorded {
    fn before_wait(&mut self) -> anyhow::Result<()> {
        self.hand_over()?;
        self.outbox.pulse.set_busy(false);
        Ok(())
    }

    fn interrupted(&mut self) -> anyhow::Result<bool> {
        if let Some(halted) = self.orders.halted() {
            return Err(halted.into());
        }
        self.brake.apply(&self.orders, &self.outbox)?;
        Ok(self.orders.wants_stop())
    }

    fn forced(&mut self, machine: &mut Machine) -> anyhow::Result<Option<u64>> {
        let (begun_ns, waited) = (boot_ns(), machine.doorbell().ringing_for());
        let way = self.followed.way(machine)?;
        // The step there is to be the first of a frame, and what is asked is asked behind all that is recorded.
        self.hand_over()?;
        match way {
            Way::Free => Ok(Some(0)),
            Way::Delta(delta) => {
                let digest = delta.digest();
                self.delta = Some(Taken { delta, took_ns: boot_ns() - begun_ns, waited });
                Ok(Some(digest))
            }
            Way::Ask => self.outbox.tell(0, FromVcpu::AskPages).map(|()| None),
            Way::Wait => Ok(None),
        }
    }

    fn sync_point(
        &mut self,
        position: Position,
        step: StepRef<'_>,
        outputs: &mut Vec<Output>,
    ) -> anyhow::Result<()> {
        self.followed.come_to_position(step.time_ns)?;
        self.outbox.pulse.set_busy(true);
        self.outbox.pulse.step();
        self.time_ns = step.time_ns;
        if self.recorder.is_empty() {
            self.since_ns = boot_ns();
        }
        self.registers.extend(step.registers.copied());
        // The stream carries no registers: the link thread keeps the latest, should the secondary ask.
        self.recorder.record(position, StepRef { registers: None, ..step })?;
        self.disks.admit(step.events, outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Disk(request) if !self.disks.waits_for_commit(&request) => {
                    self.disks.perform(request);
                }
                output => self.outputs.push((position, output)),
            }
        }
        self.disks.come_to(position, self.time_ns);
        let spoke = !self.outputs.is_empty();
        let old = self.time_ns - self.handed_over_time_ns >= MAX_AGE_NS;
        // Until a delta is acknowledged the guest cannot be stopped again.
        let urgent = spoke || self.delta.is_some();
        if urgent || old || self.recorder.is_full() { self.hand_over() } else { Ok(()) }
    }

    fn between(&mut self, machine: &mut Machine) -> anyhow::Result<()> {
        self.obey(machine)
    }
}

#[cfg(test)]
mod tests {
    use ftlog::{ExitKind, Shape, VmId};
    use machine::VcpuThread;

    use super::*;
    use crate::{
        disk::Use,
        host::pulse::Pulse,
        ingress::Inbox,
        link::{
            budget::Budget,
            mailbox::{Letters, mailbox},
            primary::desk::SharedDesk,
        },
    };
    use replay::StopSwitch;

    fn recorded() -> (Recorded, Letters<FromVcpu>) {
        let (inbox, stop) = (Arc::new(Inbox::default()), StopSwitch::default());
        let disks = Disks::open(&[], Use::Pair, true, &inbox, &stop).unwrap();
        let (mailbox, letters) = mailbox().unwrap();
        let shape = Shape { memory_mib: 4, cpus: 1, ..Shape::default() };
        let identity = VmIdentity { vm: VmId([0; 16]), shape, wall_base_ns: 0 };
        let vcpu = VcpuThread::current().unwrap();
        let orders = Arc::new(Orders::new(inbox, stop, vcpu));
        let followed = Arc::new(Followed::new(vcpu));
        let (budget, pulse) = (Budget::new(1 << 20), Pulse::default());
        let outbox = Outbox { desk: SharedDesk::default(), mailbox, budget, pulse };
        let recorded = Recorded::new(identity, outbox, (orders, followed), Arc::new(disks), Position(0));
        (recorded, letters)
    }

    /// Records a sync point at `time_ns`; gives the last position that was handed over for it, if any was.
    fn record(
        recorded: &mut Recorded,
        letters: &Letters<FromVcpu>,
        position: u64,
        time_ns: u64,
        mut said: Vec<Output>,
    ) -> Option<u64> {
        let exit = ExitKind::Halt;
        let step = StepRef { time_ns, exit, digest: 0, entries: None, events: &[], registers: None };
        recorded.sync_point(Position(position), step, &mut said).unwrap();
        letters.next().map(|letter| match letter {
            FromVcpu::Recorded(stretch) => stretch.batch.last.0,
            _ => panic!("no steps"),
        })
    }

    #[test]
    fn what_nobody_waits_for_is_handed_over_when_it_is_old_and_what_the_guest_says_at_once() {
        let (mut primary, letters) = recorded();
        assert_eq!(record(&mut primary, &letters, 1, MAX_AGE_NS / 2, Vec::new()), None);
        assert_eq!(record(&mut primary, &letters, 2, MAX_AGE_NS - 1, Vec::new()), None);
        assert_eq!(record(&mut primary, &letters, 3, MAX_AGE_NS, Vec::new()), Some(3));
        assert_eq!(record(&mut primary, &letters, 4, MAX_AGE_NS + 1, Vec::new()), None);
        let said = vec![Output::Console(b"!".to_vec())];
        assert_eq!(record(&mut primary, &letters, 5, MAX_AGE_NS + 2, said), Some(5));
    }
}
