//! The step loop of a live machine: the side that decides what happens.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use devices::{Off, Output};
use ftlog::{Event, Position, StepRef};
use machine::{EntryClock, Machine, Reached};

use crate::{
    patience::Patience,
    trace::{self, Stage},
};

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
    /// Asks for the stop; the vCPU thread must then be woken, see [`machine::VcpuThread::kick`].
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

    /// A position is complete. `outputs` is what the guest said at it; the witness empties it.
    fn sync_point(
        &mut self,
        position: Position,
        step: StepRef<'_>,
        outputs: &mut Vec<Output>,
    ) -> anyhow::Result<()>;

    /// KVM was interrupted before the guest came to a sync point: true if it is to stop where it is.
    ///
    /// # Errors
    /// The guest may not run any more, wherever it is.
    fn interrupted(&mut self) -> anyhow::Result<bool> {
        Ok(false)
    }

    /// The guest stands where no execution finds it again, and is to be there at the next position. What leads there goes
    /// before that position's step; its digest is given, or 0 if nobody follows, or `None` if it cannot be told yet: then
    /// the guest runs on.
    fn forced(&mut self, _machine: &mut Machine) -> anyhow::Result<Option<u64>> {
        Ok(Some(0))
    }

    /// The machine stands between a position and the next stretch and may be paused or saved.
    fn between(&mut self, _machine: &mut Machine) -> anyhow::Result<()> {
        Ok(())
    }

    /// Bytes of log written so far; 0 where there is none, or where somebody else counts them.
    fn log_bytes(&self) -> u64 {
        0
    }
}

/// How much the guest could take in now.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Network frames.
    pub frames: usize,
    /// Console bytes.
    pub console: usize,
}

/// Where a live machine gets its time and its input. What it gives here goes into the log; nothing else of the host
/// reaches the guest.
pub trait Input {
    /// Whether the machine is to end at its next sync point.
    fn is_stopped(&self) -> bool;

    /// Virtual time, ns. It may stand, and never goes back.
    fn now_ns(&self) -> u64;

    /// Has the guest come to a sync point when virtual time is `deadline_ns`; for no time if `None`.
    ///
    /// # Errors
    /// The host has no timer for it.
    fn set_alarm(&mut self, deadline_ns: Option<u64>) -> io::Result<()>;

    /// Waits until something comes for which there is `room`, or virtual time is `deadline_ns`, or somebody wants the
    /// vCPU thread's attention.
    fn wait(&mut self, room: Room, deadline_ns: Option<u64>);

    /// Moves what has come, and there is `room` for, to `events`: no more than fits in one step of the log.
    fn take(&mut self, room: Room, events: &mut Vec<Event>);

    /// `len` random bytes.
    ///
    /// # Errors
    /// The host gives none.
    fn entropy(&mut self, len: usize) -> anyhow::Result<Vec<u8>>;
}

/// Runs the machine until the guest switches off or the input says that it is to stop. What has waited for `patience`
/// for a guest that computes has it stopped where it is.
///
/// # Errors
/// The machine's, the input's or the witness's; the machine is of no more use.
pub fn run(
    machine: &mut Machine,
    patience: Duration,
    input: &mut dyn Input,
    witness: &mut dyn Witness,
) -> anyhow::Result<Ended> {
    let (mut events, mut outputs) = (Vec::new(), Vec::new());
    let mut patience = Patience::of(patience).context("no timer to interrupt the guest with")?;
    loop {
        if input.is_stopped() && machine.is_at_rest()? {
            return Ok(Ended::Stopped);
        }
        input.set_alarm(machine.platform().next_deadline_ns())?;
        let reached = match machine.run_stretch(EntryClock::Live)? {
            Some(reached) => reached,
            None => match force(machine, &mut patience, witness)? {
                Some(reached) => reached,
                None => continue,
            },
        };
        trace::mark(Stage::Exited, machine.position().next());
        if machine.is_idle_at(&reached) {
            input.set_alarm(None)?;
            witness.before_wait()?;
            wait(machine, input);
        }
        let time_ns = gather(machine, input, &mut events)?;
        machine.finish_sync_point(&reached, time_ns, &events, &mut outputs);
        if wanted_entropy(machine) > 0 {
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

/// The guest was interrupted: it stops there if something has waited for too long.
fn force(
    machine: &mut Machine,
    patience: &mut Patience,
    witness: &mut dyn Witness,
) -> anyhow::Result<Option<Reached>> {
    let at_once = witness.interrupted()?;
    if !at_once && !patience.is_over(machine).context("the guest's timer fails")? {
        return Ok(None);
    }
    if !machine.is_between_instructions()? {
        return Ok(None);
    }
    let delta = patience.counting(|| witness.forced(machine))?;
    Ok(delta.map(|delta| machine.force(delta)))
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

fn room(machine: &Machine) -> Room {
    let frames = machine.platform().net_receive_room(machine.memory().guest());
    Room { frames, console: machine.platform().console_receive_room() }
}

/// Random bytes that the guest waits for, and that are here without waiting.
fn wanted_entropy(machine: &Machine) -> usize {
    machine.platform().entropy_wanted(machine.memory().guest()).min(MAX_ENTROPY)
}

fn wait(machine: &Machine, input: &mut dyn Input) {
    if wanted_entropy(machine) == 0 {
        input.wait(room(machine), machine.platform().next_deadline_ns());
    }
}

/// Collects the events of this sync point and samples the clock. The clock comes last: a timer for which the alarm
/// rang before the input silenced the bell is then found to be due.
fn gather(machine: &Machine, input: &mut dyn Input, events: &mut Vec<Event>) -> anyhow::Result<u64> {
    input.take(room(machine), events);
    let wanted = wanted_entropy(machine);
    if wanted > 0 {
        events.push(Event::Entropy { bytes: input.entropy(wanted)? });
    }
    Ok(input.now_ns().max(machine.time_ns()))
}
