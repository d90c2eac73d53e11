//! Commands on values as strings of bytes.

use super::{Context, FULL, MOST_REPLY_BYTES, MOST_VALUE_BYTES, TOO_LONG, take, wrong_arguments};
use crate::resp::{Arguments, Reply};

/// Bytes a string takes in a reply besides its own, at most.
const BULK_OVERHEAD: usize = 16;

pub(super) fn get(context: &mut Context, arguments: Arguments, reply: &mut Reply) {
    let [key] = take(arguments);
    reply.bulk_or_null(context.store.get(key, context.now_ns).map(|value| value.bytes.as_slice()));
}

pub(super) fn strlen(context: &mut Context, arguments: Arguments, reply: &mut Reply) {
    let [key] = take(arguments);
    reply.integer(context.store.get(key, context.now_ns).map_or(0, |value| value.bytes.len() as i64));
}

pub(super) fn append(context: &mut Context, arguments: Arguments, reply: &mut Reply) {
    let [key, bytes] = take(arguments);
    let length = context.store.get(key, context.now_ns).map_or(0, |value| value.bytes.len());
    if length + bytes.len() > MOST_VALUE_BYTES {
        return reply.error(TOO_LONG);
    }
    match context.store.append(key, bytes, context.now_ns) {
        Ok(length) => reply.integer(length as i64),
        Err(_) => reply.error(FULL),
    }
}

pub(super) fn mget(context: &mut Context, arguments: Arguments, reply: &mut Reply) {
    let now_ns = context.now_ns;
    let mut length = BULK_OVERHEAD;
    for key in arguments.clone() {
        length += BULK_OVERHEAD + context.store.get(key, now_ns).map_or(0, |value| value.bytes.len());
    }
    if length > MOST_REPLY_BYTES {
        return reply.error("ERR reply exceeds 64 KiB");
    }
    reply.array(arguments.len());
    for key in arguments {
        reply.bulk_or_null(context.store.get(key, now_ns).map(|value| value.bytes.as_slice()));
    }
}

/// Sets all keys or none.
pub(super) fn mset(context: &mut Context, arguments: Arguments, reply: &mut Reply) {
    if !arguments.len().is_multiple_of(2) {
        return wrong_arguments("mset", reply);
    }
    let pairs = || {
        let mut arguments = arguments.clone();
        core::iter::from_fn(move || Some((arguments.next()?, arguments.next()?)))
    };
    if pairs().any(|(_, bytes)| bytes.len() > MOST_VALUE_BYTES) {
        return reply.error(TOO_LONG);
    }
    let now_ns = context.now_ns;
    let room = context.store.make_room(pairs(), now_ns);
    match room.and_then(|()| pairs().try_for_each(|(key, bytes)| context.store.set(key, bytes, None, now_ns)))
    {
        Ok(()) => reply.ok(),
        Err(_) => reply.error(FULL),
    }
}

pub(super) fn del(context: &mut Context, arguments: Arguments, reply: &mut Reply) {
    let removed = arguments.filter(|key| context.store.remove(key, context.now_ns)).count();
    reply.integer(removed as i64);
}

pub(super) fn exists(context: &mut Context, arguments: Arguments, reply: &mut Reply) {
    let found = arguments.filter(|key| context.store.get(key, context.now_ns).is_some()).count();
    reply.integer(found as i64);
}

pub(super) fn ttl(context: &mut Context, arguments: Arguments, reply: &mut Reply) {
    time_left(context, arguments, 1_000_000_000, reply);
}

pub(super) fn pttl(context: &mut Context, arguments: Arguments, reply: &mut Reply) {
    time_left(context, arguments, 1_000_000, reply);
}

/// Replies the time a key has left, in units of `unit_ns`, rounded; -1 for one that stays, -2 for none.
fn time_left(context: &mut Context, arguments: Arguments, unit_ns: u64, reply: &mut Reply) {
    let [key] = take(arguments);
    reply.integer(match context.store.get(key, context.now_ns).map(|value| value.expires_ns) {
        None => -2,
        Some(None) => -1,
        Some(Some(end)) => {
            ((end.saturating_sub(context.now_ns)).saturating_add(unit_ns / 2) / unit_ns) as i64
        }
    });
}
