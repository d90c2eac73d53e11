//! Commands on values as numbers.

use alloc::string::ToString;

use super::{FULL, KeyValue};
use crate::command::{NOT_AN_INTEGER, integer, take};
use crate::resp::{Arguments, Reply};

pub(super) fn incr(kv: &mut KeyValue, arguments: Arguments, reply: &mut Reply) {
    let [key] = take(arguments);
    add(kv, key, 1, reply);
}

pub(super) fn decr(kv: &mut KeyValue, arguments: Arguments, reply: &mut Reply) {
    let [key] = take(arguments);
    add(kv, key, -1, reply);
}

pub(super) fn incrby(kv: &mut KeyValue, arguments: Arguments, reply: &mut Reply) {
    let [key, difference] = take(arguments);
    match integer(difference) {
        Some(difference) => add(kv, key, difference, reply),
        None => reply.error(NOT_AN_INTEGER),
    }
}

pub(super) fn decrby(kv: &mut KeyValue, arguments: Arguments, reply: &mut Reply) {
    let [key, difference] = take(arguments);
    match integer(difference).map(i64::checked_neg) {
        Some(Some(difference)) => add(kv, key, difference, reply),
        Some(None) => reply.error("ERR decrement would overflow"),
        None => reply.error(NOT_AN_INTEGER),
    }
}

/// Adds to a key's number, which is 0 before it is set. The key keeps its expiry.
fn add(kv: &mut KeyValue, key: &[u8], difference: i64, reply: &mut Reply) {
    let old = kv.store.get(key, kv.occasion.now_ns);
    let expires_ns = old.and_then(|value| value.expires_ns);
    let Some(number) = old.map_or(Some(0), |value| integer(&value.bytes)) else {
        return reply.error(NOT_AN_INTEGER);
    };
    let Some(sum) = number.checked_add(difference) else {
        return reply.error("ERR increment or decrement would overflow");
    };
    match kv.store.set(key, sum.to_string().as_bytes(), expires_ns, kv.occasion.now_ns) {
        Ok(()) => reply.integer(sum),
        Err(_) => reply.error(FULL),
    }
}
