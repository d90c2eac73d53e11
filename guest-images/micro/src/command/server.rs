//! Commands about the connection and the server.

use alloc::format;
use alloc::string::{String, ToString};

use super::{COMMANDS, Context, NOT_AN_INTEGER, SYNTAX, integer, take, wrong_arguments};
use crate::resp::{Arguments, Reply};

/// The Redis version whose behaviour clients find.
const VERSION: &str = "7.0.0";

pub(super) fn ping(_: &mut Context, mut arguments: Arguments, reply: &mut Reply) {
    match arguments.next() {
        Some(text) => reply.bulk(text),
        None => reply.simple("PONG"),
    }
}

pub(super) fn echo(_: &mut Context, arguments: Arguments, reply: &mut Reply) {
    let [text] = take(arguments);
    reply.bulk(text);
}

pub(super) fn time(context: &mut Context, _: Arguments, reply: &mut Reply) {
    let micros = context.wall_ns / 1000;
    reply.array(2);
    reply.bulk((micros / 1_000_000).to_string().as_bytes());
    reply.bulk((micros % 1_000_000).to_string().as_bytes());
}

pub(super) fn dbsize(context: &mut Context, _: Arguments, reply: &mut Reply) {
    reply.integer(context.store.len() as i64);
}

pub(super) fn flush(context: &mut Context, mut arguments: Arguments, reply: &mut Reply) {
    let known = |word: &[u8]| word.eq_ignore_ascii_case(b"SYNC") || word.eq_ignore_ascii_case(b"ASYNC");
    if !arguments.next().is_none_or(known) {
        return reply.error(SYNTAX);
    }
    context.store.clear();
    reply.ok();
}

pub(super) fn info(context: &mut Context, _: Arguments, reply: &mut Reply) {
    let store = &context.store;
    let mut text = format!(
        "# Server\r\nredis_version:{VERSION}\r\nredis_mode:standalone\r\nos:ftvmm micro\r\nuptime_in_seconds:{}\r\n",
        context.now_ns / 1_000_000_000
    );
    text += &format!("\r\n# Clients\r\nconnected_clients:{}\r\n", context.clients);
    text += &format!(
        "\r\n# Memory\r\nused_memory:{}\r\nmaxmemory:{}\r\n",
        store.used_bytes(),
        store.limit_bytes()
    );
    text += &format!("\r\n# Stats\r\ntotal_commands_processed:{}\r\n", context.commands);
    text += "\r\n# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n# Keyspace\r\n";
    if !store.is_empty() {
        text += &format!("db0:keys={},expires=0,avg_ttl=0\r\n", store.len());
    }
    reply.bulk(text.as_bytes());
}

/// CONFIG GET of the few parameters clients ask for; there is nothing to set.
pub(super) fn config(context: &mut Context, mut arguments: Arguments, reply: &mut Reply) {
    let subcommand = arguments.next().unwrap_or_default();
    if !subcommand.eq_ignore_ascii_case(b"GET") {
        return unknown_subcommand("CONFIG", subcommand, reply);
    }
    if arguments.len() == 0 {
        return wrong_arguments("config|get", reply);
    }
    let limit = context.store.limit_bytes().to_string();
    let parameters = [
        ("appendonly", "no"),
        ("databases", "1"),
        ("maxmemory", &limit),
        ("maxmemory-policy", "noeviction"),
        ("save", ""),
    ];
    let asked = |name: &str| {
        arguments.clone().any(|pattern| pattern == b"*" || pattern.eq_ignore_ascii_case(name.as_bytes()))
    };
    reply.array(2 * parameters.iter().filter(|(name, _)| asked(name)).count());
    for (name, value) in parameters.iter().filter(|(name, _)| asked(name)) {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
}

/// Clients ask for the commands' documentation to complete input; there is none.
pub(super) fn command(_: &mut Context, mut arguments: Arguments, reply: &mut Reply) {
    match arguments.next() {
        Some(word) if word.eq_ignore_ascii_case(b"COUNT") => reply.integer(COMMANDS.len() as i64),
        Some(word) if word.eq_ignore_ascii_case(b"DOCS") || word.eq_ignore_ascii_case(b"INFO") => {
            reply.array(0)
        }
        Some(word) => unknown_subcommand("COMMAND", word, reply),
        None => reply.array(0),
    }
}

pub(super) fn client(_: &mut Context, mut arguments: Arguments, reply: &mut Reply) {
    let subcommand = arguments.next().unwrap_or_default();
    if subcommand.eq_ignore_ascii_case(b"SETNAME") || subcommand.eq_ignore_ascii_case(b"SETINFO") {
        reply.ok();
    } else if subcommand.eq_ignore_ascii_case(b"GETNAME") {
        reply.null();
    } else {
        unknown_subcommand("CLIENT", subcommand, reply);
    }
}

/// Protocol 2 is all there is; a client that asks for 3 falls back to it when it is refused this way.
pub(super) fn hello(_: &mut Context, mut arguments: Arguments, reply: &mut Reply) {
    match arguments.next().map(integer) {
        None | Some(Some(2)) => {}
        Some(Some(_)) => return reply.error("NOPROTO unsupported protocol version"),
        Some(None) => return reply.error("ERR Protocol version is not an integer or out of range"),
    }
    reply.array(10);
    for (name, value) in
        [("server", "redis"), ("version", VERSION), ("mode", "standalone"), ("role", "master")]
    {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(2);
}

pub(super) fn select(_: &mut Context, arguments: Arguments, reply: &mut Reply) {
    let [index] = take(arguments);
    match integer(index) {
        Some(0) => reply.ok(),
        Some(_) => reply.error("ERR DB index is out of range"),
        None => reply.error(NOT_AN_INTEGER),
    }
}

pub(super) fn quit(_: &mut Context, _: Arguments, reply: &mut Reply) {
    reply.ok();
}

pub(super) fn reset(_: &mut Context, _: Arguments, reply: &mut Reply) {
    reply.simple("RESET");
}

fn unknown_subcommand(command: &str, subcommand: &[u8], reply: &mut Reply) {
    let subcommand = String::from_utf8_lossy(&subcommand[..subcommand.len().min(super::MOST_QUOTED_BYTES)]);
    reply.error_with(format_args!("ERR unknown subcommand '{subcommand}'. Try {command} HELP."));
}
