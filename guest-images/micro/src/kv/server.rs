//! Commands about the server.

use alloc::format;
use alloc::string::ToString;

use super::{COMMANDS, KeyValue};
use crate::command::{SYNTAX, common};
use crate::resp::{Arguments, Reply};

pub(super) fn time(kv: &mut KeyValue, _: Arguments, reply: &mut Reply) {
    let micros = kv.occasion.wall_ns / 1000;
    reply.array(2);
    reply.bulk((micros / 1_000_000).to_string().as_bytes());
    reply.bulk((micros % 1_000_000).to_string().as_bytes());
}

pub(super) fn dbsize(kv: &mut KeyValue, _: Arguments, reply: &mut Reply) {
    reply.integer(kv.store.len() as i64);
}

pub(super) fn flush(kv: &mut KeyValue, mut arguments: Arguments, reply: &mut Reply) {
    let known = |word: &[u8]| word.eq_ignore_ascii_case(b"SYNC") || word.eq_ignore_ascii_case(b"ASYNC");
    if !arguments.next().is_none_or(known) {
        return reply.error(SYNTAX);
    }
    kv.store.clear();
    reply.ok();
}

pub(super) fn info(kv: &mut KeyValue, _: Arguments, reply: &mut Reply) {
    let (store, occasion) = (&kv.store, &kv.occasion);
    let mut text = format!(
        "# Server\r\nredis_version:{}\r\nredis_mode:standalone\r\nos:ftvmm micro\r\nuptime_in_seconds:{}\r\n",
        common::VERSION,
        occasion.now_ns / 1_000_000_000
    );
    text += &format!("\r\n# Clients\r\nconnected_clients:{}\r\n", occasion.clients);
    text += &format!(
        "\r\n# Memory\r\nused_memory:{}\r\nmaxmemory:{}\r\n",
        store.used_bytes(),
        store.limit_bytes()
    );
    text += &format!("\r\n# Stats\r\ntotal_commands_processed:{}\r\n", occasion.commands);
    text += "\r\n# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n# Keyspace\r\n";
    if !store.is_empty() {
        text += &format!("db0:keys={},expires=0,avg_ttl=0\r\n", store.len());
    }
    reply.text(&text);
}

pub(super) fn config(kv: &mut KeyValue, arguments: Arguments, reply: &mut Reply) {
    let limit = kv.store.limit_bytes().to_string();
    let parameters = [
        ("appendonly", "no"),
        ("databases", "1"),
        ("maxmemory", &limit),
        ("maxmemory-policy", "noeviction"),
        ("save", ""),
    ];
    common::config(&parameters, arguments, reply);
}

pub(super) fn command(_: &mut KeyValue, arguments: Arguments, reply: &mut Reply) {
    common::command(COMMANDS.len(), arguments, reply);
}
