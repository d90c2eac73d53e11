//! The search for an order, after Wing and Gong ("Testing and verifying concurrent objects", 1993) with Lowe's memory
//! of configurations that led nowhere.

use std::{collections::HashSet, rc::Rc};

use ftvmm::demo::client::{Action, Operation, Reply};

/// A key's value; none when it does not exist.
type Value = Option<Rc<[u8]>>;

/// Which operations have had their instant, and what came of them.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Configuration {
    /// All answered operations below this index are done,
    base: usize,
    /// and these beyond it, in order;
    beyond: Vec<usize>,
    /// and these unanswered ones, in order.
    unanswered: Vec<usize>,
    value: Value,
}

struct Search<'a> {
    /// Both ordered by invocation.
    answered: Vec<&'a Operation>,
    unanswered: Vec<&'a Operation>,
}

pub(super) fn check(operations: &[&Operation], most_effort: usize) -> Result<(), String> {
    let mut operations = operations.to_vec();
    operations.sort_by_key(|operation| operation.invoked_ns);
    let (answered, unanswered) = operations.into_iter().partition(|operation| operation.answer.is_some());
    Search { answered, unanswered }.run(most_effort)
}

impl Search<'_> {
    fn run(&self, most_effort: usize) -> Result<(), String> {
        let start = Configuration { base: 0, beyond: Vec::new(), unanswered: Vec::new(), value: None };
        let (mut seen, mut open, mut furthest) = (HashSet::from([start.clone()]), vec![start], 0);
        while let Some(configuration) = open.pop() {
            if configuration.base == self.answered.len() {
                return Ok(());
            }
            furthest = furthest.max(configuration.base);
            if seen.len() > most_effort {
                let of = self.answered.len();
                return Err(format!(
                    "undecided after {most_effort} configurations, at operation {furthest} of {of}"
                ));
            }
            for next in self.successors(&configuration) {
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
        Err(format!("no order explains the answer to {:?}", self.answered[furthest]))
    }

    /// What may come next: the depth-first search tries the last of these first.
    fn successors(&self, from: &Configuration) -> Vec<Configuration> {
        let mut next = Vec::new();
        let (candidates, before_ns) = self.candidates(from);
        for (index, operation) in self.unanswered.iter().enumerate() {
            if operation.invoked_ns > before_ns {
                break;
            }
            if let Err(place) = from.unanswered.binary_search(&index) {
                // Reads without an answer change and show nothing.
                let Some((value, _)) = apply(&operation.action, &from.value) else { continue };
                if value != from.value {
                    let mut successor = Configuration { value, ..from.clone() };
                    successor.unanswered.insert(place, index);
                    next.push(successor);
                }
            }
        }
        for index in candidates.into_iter().rev() {
            let operation = self.answered[index];
            let reply = operation.answer.as_ref().map(|answer| &answer.reply);
            if let Some((value, right)) = apply(&operation.action, &from.value)
                && Some(&right) == reply
            {
                next.push(from.with(index, value));
            }
        }
        next
    }

    /// The answered operations that may be next: those invoked before the first answer that is still to be explained;
    /// and when that came, in ns.
    fn candidates(&self, from: &Configuration) -> (Vec<usize>, u64) {
        let (mut candidates, mut before_ns) = (Vec::new(), u64::MAX);
        for (index, operation) in self.answered.iter().enumerate().skip(from.base) {
            if operation.invoked_ns > before_ns {
                break;
            }
            if from.beyond.binary_search(&index).is_err() {
                let answered_ns = operation.answer.as_ref().map_or(u64::MAX, |answer| answer.at_ns);
                before_ns = before_ns.min(answered_ns);
                candidates.push(index);
            }
        }
        (candidates, before_ns)
    }
}

impl Configuration {
    /// After the answered operation `index`, which gave `value`.
    fn with(&self, index: usize, value: Value) -> Self {
        let mut next = Self { value, ..self.clone() };
        if index != next.base {
            let place = next.beyond.partition_point(|&done| done < index);
            next.beyond.insert(place, index);
            return next;
        }
        next.base += 1;
        let in_row = next.beyond.iter().zip(next.base..).take_while(|(done, index)| **done == *index).count();
        next.beyond.drain(..in_row);
        next.base += in_row;
        next
    }
}

/// The value after `action` and the right answer to it; `None` where a server has to refuse.
fn apply(action: &Action, before: &Value) -> Option<(Value, Reply)> {
    match action {
        Action::Get => Some((before.clone(), Reply::Value(before.as_deref().map(<[u8]>::to_vec)))),
        Action::Set(value) => Some((Some(value.as_slice().into()), Reply::Status("OK".into()))),
        Action::Append(text) => {
            let after = [before.as_deref().unwrap_or_default(), text].concat();
            let length = i64::try_from(after.len()).ok()?;
            Some((Some(after.into()), Reply::Integer(length)))
        }
        Action::Delete => Some((None, Reply::Integer(i64::from(before.is_some())))),
        Action::Incr => {
            let count: i64 = match before {
                None => 0,
                Some(digits) => std::str::from_utf8(digits).ok()?.parse().ok()?,
            };
            let count = count.checked_add(1)?;
            Some((Some(count.to_string().into_bytes().into()), Reply::Integer(count)))
        }
    }
}
