//! Commands on values as numbers.

use alloc::string::ToString;

use super::{Context, FULL, NOT_AN_INTEGER, integer, take};
use crate::resp::{Arguments, Reply};

pub(super) fn incr(context: &mut Context, arguments: Arguments, reply: &mut Reply) {
    let [key] = take(arguments);
    add(context, key, 1, reply);
}

pub(super) fn decr(context: &mut Context, arguments: Arguments, reply: &mut Reply) {
    let [key] = take(arguments);
    add(context, key, -1, reply);
}

pub(super) fn incrby(context: &mut Context, arguments: Arguments, reply: &mut Reply) {
    let [key, difference] = take(arguments);
    match integer(difference) {
        Some(difference) => add(context, key, difference, reply),
        None => reply.error(NOT_AN_INTEGER),
    }
}

pub(super) fn decrby(context: &mut Context, arguments: Arguments, reply: &mut Reply) {
    let [key, difference] = take(arguments);
    match integer(difference).map(i64::checked_neg) {
        Some(Some(difference)) => add(context, key, difference, reply),
        Some(None) => reply.error("ERR decrement would overflow"),
        None => reply.error(NOT_AN_INTEGER),
    }
}

/// Adds to a key's number, which is 0 before it is set. The key keeps its expiry.
fn add(context: &mut Context, key: &[u8], difference: i64, reply: &mut Reply) {
    let old = context.store.get(key, context.now_ns);
    let expires_ns = old.and_then(|value| value.expires_ns);
    let Some(number) = old.map_or(Some(0), |value| integer(&value.bytes)) else {
        return reply.error(NOT_AN_INTEGER);
    };
    let Some(sum) = number.checked_add(difference) else {
        return reply.error("ERR increment or decrement would overflow");
    };
    match context.store.set(key, sum.to_string().as_bytes(), expires_ns, context.now_ns) {
        Ok(()) => reply.integer(sum),
        Err(_) => reply.error(FULL),
    }
}
