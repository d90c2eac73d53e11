//! The exact check of a key that is only incremented and read.
//!
//! INCR answered with `v` has its instant at the *step* from `v-1` to `v`; GET answered with `v` has its own between
//! step `v` and step `v+1`. So step `v` lies
//!
//! - after the invocation of INCR=v and of every GET=v-1,
//! - before the answer of INCR=v and of every GET=v,
//!
//! and steps are in order. Such instants exist exactly when, at every step, the latest lower bound so far is not after
//! the step's upper bound. Steps that no answered INCR explains need one unanswered INCR each, invoked before the
//! step: matching the earliest invoked with the lowest step is best.

use ftvmm::demo::client::{Action, Operation, Reply};

/// When a step from one value to the next may be, in ns.
#[derive(Clone)]
struct Step {
    earliest_ns: u64,
    latest_ns: u64,
    explained: bool,
}

pub(super) fn check(operations: &[&Operation]) -> Result<(), String> {
    let mut steps = steps(operations)?;
    let mut latest_ns = u64::MAX;
    for step in steps.iter_mut().rev() {
        latest_ns = latest_ns.min(step.latest_ns);
        step.latest_ns = latest_ns;
    }
    explain(&mut steps, operations)?;
    let mut earliest_ns = 0;
    for (value, step) in steps.iter().enumerate() {
        earliest_ns = earliest_ns.max(step.earliest_ns);
        if earliest_ns > step.latest_ns {
            return Err(format!(
                "the count reached {value} at {} ns or before, and not before {earliest_ns} ns",
                step.latest_ns
            ));
        }
    }
    Ok(())
}

/// What the answers say about each step; index 0 stands for the beginning.
fn steps(operations: &[&Operation]) -> Result<Vec<Step>, String> {
    let increments = operations.iter().filter(|it| it.action == Action::Incr).count();
    let unbounded = Step { earliest_ns: 0, latest_ns: u64::MAX, explained: false };
    // One more than can be reached, for reads of the last value.
    let mut steps = vec![unbounded; increments + 2];
    steps[0].explained = true;
    for operation in operations {
        let Some(answer) = &operation.answer else { continue };
        let value = value_of(&answer.reply).ok_or_else(|| format!("no count: {operation:?}"))?;
        if value > increments {
            return Err(format!("{value} was reached with {increments} increments: {operation:?}"));
        }
        steps[value].latest_ns = steps[value].latest_ns.min(answer.at_ns);
        let after = if operation.action == Action::Incr { value } else { value + 1 };
        steps[after].earliest_ns = steps[after].earliest_ns.max(operation.invoked_ns);
        if operation.action == Action::Incr && std::mem::replace(&mut steps[value].explained, true) {
            return Err(format!("{value} was given to two increments, or to one before any: {operation:?}"));
        }
    }
    // A read of the last value bounds a step that perhaps never was: it may still be, at any time.
    Ok(steps)
}

fn value_of(reply: &Reply) -> Option<usize> {
    match reply {
        Reply::Integer(value) => usize::try_from(*value).ok(),
        Reply::Value(None) => Some(0),
        Reply::Value(Some(digits)) => std::str::from_utf8(digits).ok()?.parse().ok(),
        _ => None,
    }
}

/// Gives each step that must have been, and that no answer explains, an increment that was not answered.
fn explain(steps: &mut [Step], operations: &[&Operation]) -> Result<(), String> {
    let unanswered = operations.iter().filter(|it| it.answer.is_none() && it.action == Action::Incr);
    let mut invoked_ns: Vec<u64> = unanswered.map(|it| it.invoked_ns).collect();
    invoked_ns.sort_unstable();
    let mut spare = invoked_ns.into_iter();
    // Beyond the highest value that anybody saw nothing needs an explanation.
    for (value, step) in steps.iter_mut().enumerate().filter(|(_, step)| step.latest_ns < u64::MAX) {
        if step.explained {
            continue;
        }
        let invoked_ns = spare.next().ok_or_else(|| format!("nobody counted to {value}"))?;
        if invoked_ns > step.latest_ns {
            return Err(format!("nobody had counted to {value} by {} ns", step.latest_ns));
        }
        step.earliest_ns = step.earliest_ns.max(invoked_ns);
    }
    Ok(())
}
