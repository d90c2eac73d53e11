//! Commands on values as strings of bytes.

use super::{FULL, KeyValue, MOST_VALUE_BYTES, TOO_LONG};
use crate::command::{take, wrong_arguments};
use crate::resp::{Arguments, MOST_REPLY_BYTES, Reply};

/// Bytes a string takes in a reply besides its own, at most.
const BULK_OVERHEAD: usize = 16;

pub(super) fn get(kv: &mut KeyValue, arguments: Arguments, reply: &mut Reply) {
    let [key] = take(arguments);
    reply.bulk_or_null(kv.store.get(key, kv.occasion.now_ns).map(|value| value.bytes.as_slice()));
}

pub(super) fn strlen(kv: &mut KeyValue, arguments: Arguments, reply: &mut Reply) {
    let [key] = take(arguments);
    reply.integer(kv.store.get(key, kv.occasion.now_ns).map_or(0, |value| value.bytes.len() as i64));
}

pub(super) fn append(kv: &mut KeyValue, arguments: Arguments, reply: &mut Reply) {
    let [key, bytes] = take(arguments);
    let length = kv.store.get(key, kv.occasion.now_ns).map_or(0, |value| value.bytes.len());
    if length + bytes.len() > MOST_VALUE_BYTES {
        return reply.error(TOO_LONG);
    }
    match kv.store.append(key, bytes, kv.occasion.now_ns) {
        Ok(length) => reply.integer(length as i64),
        Err(_) => reply.error(FULL),
    }
}

pub(super) fn mget(kv: &mut KeyValue, arguments: Arguments, reply: &mut Reply) {
    let now_ns = kv.occasion.now_ns;
    let mut length = BULK_OVERHEAD;
    for key in arguments.clone() {
        length += BULK_OVERHEAD + kv.store.get(key, now_ns).map_or(0, |value| value.bytes.len());
    }
    if length > MOST_REPLY_BYTES {
        return reply.error("ERR reply exceeds 64 KiB");
    }
    reply.array(arguments.len());
    for key in arguments {
        reply.bulk_or_null(kv.store.get(key, now_ns).map(|value| value.bytes.as_slice()));
    }
}

/// Sets all keys or none.
pub(super) fn mset(kv: &mut KeyValue, arguments: Arguments, reply: &mut Reply) {
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
    let now_ns = kv.occasion.now_ns;
    let room = kv.store.make_room(pairs(), now_ns);
    match room.and_then(|()| pairs().try_for_each(|(key, bytes)| kv.store.set(key, bytes, None, now_ns))) {
        Ok(()) => reply.ok(),
        Err(_) => reply.error(FULL),
    }
}

pub(super) fn del(kv: &mut KeyValue, arguments: Arguments, reply: &mut Reply) {
    let removed = arguments.filter(|key| kv.store.remove(key, kv.occasion.now_ns)).count();
    reply.integer(removed as i64);
}

pub(super) fn exists(kv: &mut KeyValue, arguments: Arguments, reply: &mut Reply) {
    let found = arguments.filter(|key| kv.store.get(key, kv.occasion.now_ns).is_some()).count();
    reply.integer(found as i64);
}

pub(super) fn ttl(kv: &mut KeyValue, arguments: Arguments, reply: &mut Reply) {
    time_left(kv, arguments, 1_000_000_000, reply);
}

pub(super) fn pttl(kv: &mut KeyValue, arguments: Arguments, reply: &mut Reply) {
    time_left(kv, arguments, 1_000_000, reply);
}

/// Replies the time a key has left, in units of `unit_ns`, rounded; -1 for one that stays, -2 for none.
fn time_left(kv: &mut KeyValue, arguments: Arguments, unit_ns: u64, reply: &mut Reply) {
    let [key] = take(arguments);
    reply.integer(match kv.store.get(key, kv.occasion.now_ns).map(|value| value.expires_ns) {
        None => -2,
        Some(None) => -1,
        Some(Some(end)) => {
            ((end.saturating_sub(kv.occasion.now_ns)).saturating_add(unit_ns / 2) / unit_ns) as i64
        }
    });
}
