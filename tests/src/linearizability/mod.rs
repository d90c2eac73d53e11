//! Could one server, doing one thing at a time, have given these answers?
//!
//! A history is linearizable when every operation can be given one instant between its invocation and its answer such
//! that carrying them out in the order of these instants gives every answer that was given (Herlihy and Wing,
//! "Linearizability", 1990). Keys are independent, so each is checked alone. An operation that was never answered may
//! have its instant any time after its invocation, or none.
//!
//! Keys that are only counted and read are decided by arithmetic (`counter`); the others by a search (`search`).

use std::{collections::BTreeMap, fmt};

use ftvmm::demo::client::{Action, Answer, Operation, Reply};

mod counter;
mod search;
#[cfg(test)]
mod tests;

/// How many configurations the search of one key may visit.
pub const MOST_EFFORT: usize = 2_000_000;

/// Why a history is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The key.
    pub key: String,
    /// What is wrong with its answers.
    pub reason: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}: {}", self.key, self.reason)
    }
}

/// Checks a history of keys that did not exist before it.
///
/// # Errors
/// The first key whose answers no order explains, or whose search was given up: an undecided history is not a good
/// one.
pub fn check(operations: &[Operation]) -> Result<(), Violation> {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        keys.entry(&operation.key).or_default().push(operation);
    }
    for (key, operations) in keys {
        let counted = operations.iter().all(|it| matches!(it.action, Action::Incr | Action::Get));
        let effective: Vec<&Operation> = operations.into_iter().filter(is_effective).collect();
        let checked =
            if counted { counter::check(&effective) } else { search::check(&effective, MOST_EFFORT) };
        checked.map_err(|reason| Violation { key: key.to_owned(), reason })?;
    }
    Ok(())
}

/// An operation with an effect or an answer to explain; a refusal is neither.
fn is_effective(operation: &&Operation) -> bool {
    !matches!(operation.answer, Some(Answer { reply: Reply::Error(_), .. }))
}
