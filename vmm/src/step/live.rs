//! The step loop of a live machine: the side that decides what happens.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use devices::{Off, Output};
use ftlog::{Event, Position, StepRef};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::{
    host::clock::VirtualClock,
    ingress::{Alarm, Inbox, Room, Timer},
    machine::{EntryClock, Machine, Reached},
};

/// How long a machine that was told to stop may run on to its next sync point.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// Random bytes for the guest in one step.
const MAX_ENTROPY: usize = 4096;

/// Why a live machine stopped as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The guest ended it.
    PoweredOff(Off),
    /// [`StopSwitch`] was thrown.
    Stopped,
}

/// Ends a live machine from another thread.
#[derive(Clone, Default)]
pub struct StopSwitch(Arc<AtomicBool>);

impl StopSwitch {
    /// Asks for the stop; the vCPU thread must then be woken, see [`crate::shutdown::VcpuThread::stop`].
    pub fn throw(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was thrown.
    pub fn is_thrown(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Whoever looks over the machine's shoulder: it keeps the log, and takes what the guest says.
pub trait Witness {
    /// The machine is about to wait for input: nothing may be held back that others wait for.
    fn before_wait(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// A sync point is complete. `outputs` is what the guest said at it; the witness empties it.
    fn sync_point(
        &mut self,
        position: Position,
        step: StepRef<'_>,
        outputs: &mut Vec<Output>,
    ) -> anyhow::Result<()>;

    /// The machine stands between a sync point and the next stretch and may be paused or saved.
    fn between(&mut self, _machine: &mut Machine) -> anyhow::Result<()> {
        Ok(())
    }

    /// Bytes of log written so far; 0 where there is none, or where somebody else counts them.
    fn log_bytes(&self) -> u64 {
        0
    }
}

/// Where a live machine gets its time and its input.
pub struct Input {
    /// What comes from outside.
    pub inbox: Arc<Inbox>,
    /// Virtual time.
    pub clock: VirtualClock,
    /// The way to end it.
    pub stop: StopSwitch,
    /// For the guest's timers.
    pub timer: Timer,
}

/// Runs the machine until the guest switches off or the stop switch is thrown.
pub fn run(machine: &mut Machine, input: &Input, witness: &mut dyn Witness) -> anyhow::Result<Ended> {
    let (mut events, mut outputs) = (Vec::new(), Vec::new());
    let mut patience = None;
    input.inbox.attach(machine.doorbell());
    let mut alarm = Alarm::start(input.timer.clone(), machine.doorbell().clone())?;
    loop {
        if input.stop.is_thrown() && (machine.is_at_rest()? || ran_out(&mut patience)) {
            return Ok(Ended::Stopped);
        }
        alarm.set(machine.platform().next_deadline_ns(), &input.clock)?;
        let Some(reached) = machine.run_stretch(EntryClock::Live)? else { continue };
        if machine.is_idle_at(&reached) {
            alarm.set(None, &input.clock)?;
            witness.before_wait()?;
            input.wait(machine);
        }
        let time_ns = input.gather(machine, &mut events)?;
        machine.finish_sync_point(&reached, time_ns, &events, &mut outputs);
        if input.wanted_entropy(machine) > 0 {
            machine.doorbell().ring();
        }
        record(machine, &reached, &events, &mut outputs, witness)?;
        events.clear();
        if let Some(off) = machine.platform().powered_off() {
            return Ok(Ended::PoweredOff(off));
        }
        witness.between(machine)?;
    }
}

/// Whether a guest that was told to stop has had its time to come to a sync point, at which alone its state can be
/// compared or handed over.
fn ran_out(patience: &mut Option<Instant>) -> bool {
    Instant::now() >= *patience.get_or_insert_with(|| Instant::now() + STOP_PATIENCE)
}

fn record(
    machine: &Machine,
    reached: &Reached,
    events: &[Event],
    outputs: &mut Vec<Output>,
    witness: &mut dyn Witness,
) -> anyhow::Result<()> {
    let registers = Some(&reached.registers);
    let step = StepRef {
        time_ns: machine.time_ns(),
        exit: reached.kind,
        digest: reached.digest.short(),
        entries: reached.entries,
        events,
        registers,
    };
    witness.sync_point(machine.position(), step, outputs)
}

impl Input {
    fn room(&self, machine: &Machine) -> Room {
        let frames = machine.platform().net_receive_room(machine.memory().guest());
        Room { frames, console: machine.platform().console_receive_room() }
    }

    /// Random bytes that the guest waits for, and that are here without waiting.
    fn wanted_entropy(&self, machine: &Machine) -> usize {
        machine.platform().entropy_wanted(machine.memory().guest()).min(MAX_ENTROPY)
    }

    fn wait(&self, machine: &Machine) {
        if self.wanted_entropy(machine) > 0 {
            return;
        }
        let deadline = machine.platform().next_deadline_ns();
        let timeout = deadline.map(|deadline_ns| Duration::from_nanos(self.clock.until_ns(deadline_ns)));
        if timeout != Some(Duration::ZERO) {
            self.inbox.wait(self.room(machine), timeout);
        }
    }

    /// Collects the events of this sync point and samples the clock. The clock comes last: a timer for which the
    /// alarm rang before the inbox silenced the bell is then found to be due.
    fn gather(&self, machine: &Machine, events: &mut Vec<Event>) -> anyhow::Result<u64> {
        self.inbox.take(self.room(machine), events);
        let wanted = self.wanted_entropy(machine);
        if wanted > 0 {
            events.push(Event::Entropy { bytes: random(wanted)? });
        }
        Ok(self.clock.now_ns().max(machine.time_ns()))
    }
}

/// `len` bytes of the host's randomness.
fn random(len: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut rest = bytes.as_mut_slice();
    while !rest.is_empty() {
        // A long read may end early when a signal comes.
        let filled = rustix::io::retry_on_intr(|| getrandom(&mut *rest, GetRandomFlags::empty()))
            .context("the host gives no random bytes for the guest's entropy device")?;
        rest = &mut rest[filled..];
    }
    Ok(bytes)
}
