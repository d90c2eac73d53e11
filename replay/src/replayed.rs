//! The step loop of a replaying machine: the side that is told what happens.

use std::time::Duration;

use anyhow::Context;
use devices::Output;
use ftlog::{Delta, ExitKind, Position, Step};
use machine::{EntryClock, Machine, Reached};
use protocol::sabotage::{Check, disabled};

use crate::{StopSwitch, verify, watchdog::Watched};

/// A step that cannot follow the one before.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The log skips or repeats positions.
    #[error("the log has {found} where {expected} is next")]
    Gap {
        /// The next position.
        expected: Position,
        /// The step's.
        found: Position,
    },
    /// Virtual time goes backwards.
    #[error("at {position} the log's time goes back from {before_ns} ns to {time_ns} ns")]
    TimeReversed {
        /// Where.
        position: Position,
        /// Time at the step before.
        before_ns: u64,
        /// The step's time.
        time_ns: u64,
    },
    /// The guest computes on where the recorded one came to a sync point.
    #[error(
        "divergence before {position}: the guest has computed for {cpu:.0?} without coming to the sync point that the \
         recorded one reached after {recorded:.3?}{}", expectation(*.entries)
    )]
    Endless {
        /// The sync point that does not come.
        position: Position,
        /// CPU time that the stretch has had, less the first second or so.
        cpu: Duration,
        /// Virtual time that it took when it was recorded.
        recorded: Duration,
        /// The count of kernel entries at which the log says that it ended.
        entries: Option<u64>,
    },
    /// A forced position without what leads there, or that of one with another step.
    #[error("{position} is a forced position without its delta, or a delta leads to it, and it is none")]
    Delta {
        /// Where.
        position: Position,
    },
    /// The stop switch was thrown within a stretch.
    #[error("stopped")]
    Stopped,
}

fn expectation(entries: Option<u64>) -> String {
    entries.map_or_else(String::new, |entries| format!(", at kernel entry {entries}"))
}

/// Runs the next stretch, or installs the `delta` that stands for it, compares how it ended with `step`, and does what the
/// step says. What the guest says goes to `outputs`.
///
/// # Errors
/// A [`Divergence`](crate::Divergence), a [`StepError`], a [`machine::InstallError`] or a [`machine::MachineError`]; the
/// machine is of no more use.
pub fn step(
    machine: &mut Machine,
    position: Position,
    step: &Step,
    delta: Option<&Delta>,
    outputs: &mut Vec<Output>,
    stop: &StopSwitch,
) -> anyhow::Result<()> {
    let expected = machine.position().next();
    if position != expected {
        return Err(StepError::Gap { expected, found: position }.into());
    }
    if step.time_ns < machine.time_ns() {
        let before_ns = machine.time_ns();
        return Err(StepError::TimeReversed { position, before_ns, time_ns: step.time_ns }.into());
    }
    let reached = match delta {
        None if step.exit != ExitKind::Forced => run_stretch(machine, position, step, stop)?,
        Some(delta) if step.exit == ExitKind::Forced => {
            machine.install(delta).with_context(|| format!("the way to {position} cannot be installed"))?
        }
        _ => return Err(StepError::Delta { position }.into()),
    };
    if !disabled(Check::Digest) {
        verify(position, step, reached.kind, reached.entries, reached.digest, &reached.registers)?;
    }
    machine.finish_sync_point(&reached, step.time_ns, &step.events, outputs);
    Ok(())
}

/// Runs the guest to where the stretch ends, which the log has to have said before.
fn run_stretch(
    machine: &mut Machine,
    position: Position,
    step: &Step,
    stop: &StopSwitch,
) -> anyhow::Result<Reached> {
    let recorded_ns = step.time_ns - machine.time_ns();
    let mut watched = Watched::begin(recorded_ns).context("cannot watch over the replayed guest")?;
    loop {
        if let Some(reached) = machine.run_stretch(EntryClock::Logged(step.entries))? {
            return Ok(reached);
        }
        if stop.is_thrown() {
            return Err(StepError::Stopped.into());
        }
        if let Some(cpu) = watched.overdue() {
            let recorded = Duration::from_nanos(recorded_ns);
            return Err(StepError::Endless { position, cpu, recorded, entries: step.entries }.into());
        }
    }
}
