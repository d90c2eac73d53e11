//! SET and its options.

use super::{FULL, KeyValue, MOST_VALUE_BYTES, TOO_LONG};
use crate::command::{NOT_AN_INTEGER, SYNTAX, integer};
use crate::resp::{Arguments, Reply};

/// When a key gets its new value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    IfMissing,
    IfPresent,
}

/// How long the key lives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Forever,
    AsBefore,
    UntilNs(u64),
}

struct Options {
    condition: Condition,
    life: Life,
    get: bool,
}

pub(super) fn set(kv: &mut KeyValue, mut arguments: Arguments, reply: &mut Reply) {
    let (key, bytes) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    let options = match options(arguments, kv.occasion.now_ns) {
        Ok(options) => options,
        Err(text) => return reply.error(text),
    };
    if bytes.len() > MOST_VALUE_BYTES {
        return reply.error(TOO_LONG);
    }
    let now_ns = kv.occasion.now_ns;
    let old = kv.store.get(key, now_ns);
    let present = old.is_some();
    let expires_ns = match options.life {
        Life::Forever => None,
        Life::AsBefore => old.and_then(|value| value.expires_ns),
        Life::UntilNs(end) => Some(end),
    };
    let set = match options.condition {
        Condition::Always => true,
        Condition::IfMissing => !present,
        Condition::IfPresent => present,
    };
    // The old value must be replied before it goes, but not if the new one finds no room.
    let old = if options.get { old.map(|value| value.bytes.clone()) } else { None };
    if set && kv.store.set(key, bytes, expires_ns, now_ns).is_err() {
        return reply.error(FULL);
    }
    match (options.get, set) {
        (true, _) => reply.bulk_or_null(old.as_deref()),
        (false, true) => reply.ok(),
        (false, false) => reply.null(),
    }
}

fn options(mut arguments: Arguments, now_ns: u64) -> Result<Options, &'static str> {
    let mut options = Options { condition: Condition::Always, life: Life::Forever, get: false };
    while let Some(word) = arguments.next() {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let fresh = options.condition == Condition::Always;
        let mortal = options.life == Life::Forever;
        if is("NX") && fresh {
            options.condition = Condition::IfMissing;
        } else if is("XX") && fresh {
            options.condition = Condition::IfPresent;
        } else if is("GET") {
            options.get = true;
        } else if is("KEEPTTL") && mortal {
            options.life = Life::AsBefore;
        } else if is("EX") && mortal {
            options.life = Life::UntilNs(deadline(arguments.next(), 1_000_000_000, now_ns)?);
        } else if is("PX") && mortal {
            options.life = Life::UntilNs(deadline(arguments.next(), 1_000_000, now_ns)?);
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(options)
}

/// The end of a life of that many units from now.
fn deadline(units: Option<&[u8]>, unit_ns: u64, now_ns: u64) -> Result<u64, &'static str> {
    let units = integer(units.ok_or(SYNTAX)?).ok_or(NOT_AN_INTEGER)?;
    let life_ns =
        u64::try_from(units).ok().filter(|&units| units > 0).and_then(|units| units.checked_mul(unit_ns));
    life_ns.and_then(|life_ns| life_ns.checked_add(now_ns)).ok_or("ERR invalid expire time in 'set' command")
}
