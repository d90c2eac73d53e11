//! The step loop of a replaying machine: the side that is told what happens.

use devices::Output;
use ftlog::{Position, Step};
use replay::verify;

use crate::{
    machine::Machine,
    sabotage::{Check, disabled},
    step::StopSwitch,
};

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
    /// The stop switch was thrown within a stretch.
    #[error("stopped")]
    Stopped,
}

/// Runs the next stretch, compares how it ended with `step`, and does what the step says. What the guest says goes
/// to `outputs`.
///
/// # Errors
/// A [`replay::Divergence`], a [`StepError`], or a [`crate::machine::MachineError`]; the machine is of no more use.
pub fn step(
    machine: &mut Machine,
    position: Position,
    step: &Step,
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
    let reached = loop {
        if let Some(reached) = machine.run_stretch()? {
            break reached;
        }
        if stop.is_thrown() {
            return Err(StepError::Stopped.into());
        }
    };
    if !disabled(Check::Digest) {
        verify(position, step, reached.kind, reached.digest, &reached.registers)?;
    }
    machine.finish_sync_point(&reached, step.time_ns, &step.events, outputs);
    Ok(())
}
