//! The step loop of a live machine: the side that decides what happens.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use devices::{Off, Output};
use ftlog::{Event, Position, StepRef};
use machine::{EntryClock, Machine, Reached};

use crate::trace::{self, Stage};

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

    /// A sync point is complete. `outputs` is what the guest said at it; the witness empties it.
    fn sync_point(
        &mut self,
        position: Position,
        step: StepRef<'_>,
        outputs: &mut Vec<Output>,
    ) -> anyhow::Result<()>;

    /// KVM was interrupted before the guest came to a sync point.
    ///
    /// # Errors
    /// The guest may not run any more, wherever it is.
    fn interrupted(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// The machine stands between a sync point and the next stretch and may be paused or saved.
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

/// Runs the machine until the guest switches off or the input says that it is to stop.
///
/// # Errors
/// The machine's, the input's or the witness's; the machine is of no more use.
pub fn run(machine: &mut Machine, input: &mut dyn Input, witness: &mut dyn Witness) -> anyhow::Result<Ended> {
    let (mut events, mut outputs) = (Vec::new(), Vec::new());
    let mut patience = None;
    loop {
        if input.is_stopped() && (machine.is_at_rest()? || ran_out(&mut patience)) {
            return Ok(Ended::Stopped);
        }
        input.set_alarm(machine.platform().next_deadline_ns())?;
        let Some(reached) = machine.run_stretch(EntryClock::Live)? else {
            witness.interrupted()?;
            continue;
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
