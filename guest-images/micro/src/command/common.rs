//! Commands about the connection, which are the same whatever is served.

use alloc::string::String;

use super::{MOST_QUOTED_BYTES, NOT_AN_INTEGER, integer, take, wrong_arguments};
use crate::resp::{Arguments, Protocol, Reply};

/// The Redis version whose behaviour clients find.
pub(crate) const VERSION: &str = "7.0.0";

pub(crate) fn ping<S>(_: &mut S, mut arguments: Arguments, reply: &mut Reply) {
    match arguments.next() {
        Some(text) => reply.bulk(text),
        None => reply.simple("PONG"),
    }
}

pub(crate) fn echo<S>(_: &mut S, arguments: Arguments, reply: &mut Reply) {
    let [text] = take(arguments);
    reply.bulk(text);
}

/// CONFIG GET of the few parameters clients ask for; there is nothing to set.
pub(crate) fn config(parameters: &[(&str, &str)], mut arguments: Arguments, reply: &mut Reply) {
    let subcommand = arguments.next().unwrap_or_default();
    if !subcommand.eq_ignore_ascii_case(b"GET") {
        return unknown_subcommand("CONFIG", subcommand, reply);
    }
    if arguments.len() == 0 {
        return wrong_arguments("config|get", reply);
    }
    let asked = |name: &str| {
        arguments.clone().any(|pattern| pattern == b"*" || pattern.eq_ignore_ascii_case(name.as_bytes()))
    };
    reply.map(parameters.iter().filter(|(name, _)| asked(name)).count());
    for (name, value) in parameters.iter().filter(|(name, _)| asked(name)) {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
}

/// Clients ask for the commands' documentation to complete input; there is none. `count` is the number of commands.
pub(crate) fn command(count: usize, mut arguments: Arguments, reply: &mut Reply) {
    match arguments.next() {
        Some(word) if word.eq_ignore_ascii_case(b"COUNT") => reply.integer(count as i64),
        Some(word) if word.eq_ignore_ascii_case(b"DOCS") => reply.map(0),
        Some(word) if word.eq_ignore_ascii_case(b"INFO") => reply.array(0),
        Some(word) => unknown_subcommand("COMMAND", word, reply),
        None => reply.array(0),
    }
}

pub(crate) fn client<S>(_: &mut S, mut arguments: Arguments, reply: &mut Reply) {
    let subcommand = arguments.next().unwrap_or_default();
    if subcommand.eq_ignore_ascii_case(b"SETNAME") || subcommand.eq_ignore_ascii_case(b"SETINFO") {
        reply.ok();
    } else if subcommand.eq_ignore_ascii_case(b"GETNAME") {
        reply.null();
    } else {
        unknown_subcommand("CLIENT", subcommand, reply);
    }
}

/// Chooses the protocol, and introduces the server in it. There are no passwords: like Redis without one, it takes any for
/// the default user.
pub(crate) fn hello<S>(_: &mut S, mut arguments: Arguments, reply: &mut Reply) {
    let protocol = match arguments.next().map(integer) {
        None => reply.protocol(),
        Some(Some(2)) => Protocol::V2,
        Some(Some(3)) => Protocol::V3,
        Some(Some(_)) => return reply.error("NOPROTO unsupported protocol version"),
        Some(None) => return reply.error("ERR Protocol version is not an integer or out of range"),
    };
    while let Some(option) = arguments.next() {
        let known = match option {
            word if word.eq_ignore_ascii_case(b"SETNAME") => arguments.next().is_some(),
            word if word.eq_ignore_ascii_case(b"AUTH") => {
                let (user, password) = (arguments.next(), arguments.next());
                if password.is_some() && user != Some(b"default") {
                    return reply.error("WRONGPASS invalid username-password pair or user is disabled.");
                }
                password.is_some()
            }
            _ => false,
        };
        if !known {
            let option = String::from_utf8_lossy(&option[..option.len().min(MOST_QUOTED_BYTES)]);
            return reply.error_with(format_args!("ERR Syntax error in HELLO option '{option}'"));
        }
    }
    reply.speak(protocol);
    reply.map(6);
    for (name, value) in
        [("server", "redis"), ("version", VERSION), ("mode", "standalone"), ("role", "master")]
    {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(if protocol == Protocol::V3 { 3 } else { 2 });
    reply.bulk(b"modules");
    reply.array(0);
}

pub(crate) fn select<S>(_: &mut S, arguments: Arguments, reply: &mut Reply) {
    let [index] = take(arguments);
    match integer(index) {
        Some(0) => reply.ok(),
        Some(_) => reply.error("ERR DB index is out of range"),
        None => reply.error(NOT_AN_INTEGER),
    }
}

pub(crate) fn quit<S>(_: &mut S, _: Arguments, reply: &mut Reply) {
    reply.ok();
}

pub(crate) fn reset<S>(_: &mut S, _: Arguments, reply: &mut Reply) {
    reply.speak(Protocol::default());
    reply.simple("RESET");
}

fn unknown_subcommand(command: &str, subcommand: &[u8], reply: &mut Reply) {
    let subcommand = String::from_utf8_lossy(&subcommand[..subcommand.len().min(MOST_QUOTED_BYTES)]);
    reply.error_with(format_args!("ERR unknown subcommand '{subcommand}'. Try {command} HELP."));
}
