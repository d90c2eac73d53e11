//! The commands: a table of names and argument counts, and what each does to the store.
//!
//! Replies and error texts are those of Redis 7 wherever a client might look at them.

mod numbers;
mod server;
mod set;
mod strings;

use core::fmt::Display;

use crate::resp::{Arguments, Reply, Request};
use crate::store::Store;

/// Longest value, in bytes; what APPEND can make, and close to what a request can hold.
pub const MOST_VALUE_BYTES: usize = 60 * 1024;
/// No reply is longer, in bytes.
pub const MOST_REPLY_BYTES: usize = 64 * 1024 + 256;

/// Most of a client's own words that an error repeats, in bytes.
const MOST_QUOTED_BYTES: usize = 128;

const FULL: &str = "OOM command not allowed when used memory > 'maxmemory'.";
const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
const SYNTAX: &str = "ERR syntax error";
const TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";

/// What a command works with.
pub struct Context<'a> {
    /// The keys.
    pub store: &'a mut Store,
    /// Time since power-on, in ns.
    pub now_ns: u64,
    /// Unix time, in ns.
    pub wall_ns: u64,
    /// Connections now.
    pub clients: usize,
    /// Commands executed since power-on.
    pub commands: u64,
}

/// Whether the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It does.
    Continue,
    /// It is closed once the reply is sent.
    Close,
}

/// Arguments behind the command's name, and where the reply goes.
type Handler = fn(&mut Context, Arguments, &mut Reply);

struct Command {
    name: &'static str,
    /// Fewest and most arguments, the name not counted.
    arguments: (usize, usize),
    handler: Handler,
}

const ANY: usize = usize::MAX;

const fn command(name: &'static str, fewest: usize, most: usize, handler: Handler) -> Command {
    Command { name, arguments: (fewest, most), handler }
}

/// In the order in which they are looked for: the frequent ones first.
static COMMANDS: [Command; 28] = [
    command("get", 1, 1, strings::get),
    command("set", 2, ANY, set::set),
    command("incr", 1, 1, numbers::incr),
    command("ping", 0, 1, server::ping),
    command("incrby", 2, 2, numbers::incrby),
    command("decr", 1, 1, numbers::decr),
    command("decrby", 2, 2, numbers::decrby),
    command("append", 2, 2, strings::append),
    command("strlen", 1, 1, strings::strlen),
    command("mget", 1, ANY, strings::mget),
    command("mset", 2, ANY, strings::mset),
    command("del", 1, ANY, strings::del),
    command("exists", 1, ANY, strings::exists),
    command("ttl", 1, 1, strings::ttl),
    command("pttl", 1, 1, strings::pttl),
    command("echo", 1, 1, server::echo),
    command("time", 0, 0, server::time),
    command("dbsize", 0, 0, server::dbsize),
    command("flushall", 0, 1, server::flush),
    command("flushdb", 0, 1, server::flush),
    command("info", 0, ANY, server::info),
    command("config", 1, ANY, server::config),
    command("command", 0, ANY, server::command),
    command("client", 1, ANY, server::client),
    command("hello", 0, ANY, server::hello),
    command("select", 1, 1, server::select),
    command("quit", 0, ANY, server::quit),
    command("reset", 0, 0, server::reset),
];

/// Executes a request and writes its reply, if it has a command in it.
pub fn execute(context: &mut Context, request: Request, reply: &mut Reply) -> After {
    let mut arguments = request.arguments();
    let Some(name) = arguments.next() else {
        return After::Continue;
    };
    let Some(command) = COMMANDS.iter().find(|command| name.eq_ignore_ascii_case(command.name.as_bytes()))
    else {
        unknown(name, arguments, reply);
        return After::Continue;
    };
    let (fewest, most) = command.arguments;
    if arguments.len() < fewest || arguments.len() > most {
        wrong_arguments(command.name, reply);
        return After::Continue;
    }
    (command.handler)(context, arguments, reply);
    if command.name == "quit" { After::Close } else { After::Continue }
}

fn wrong_arguments(name: impl Display, reply: &mut Reply) {
    reply.error_with(format_args!("ERR wrong number of arguments for '{name}' command"));
}

fn unknown(name: &[u8], arguments: Arguments, reply: &mut Reply) {
    let quote = |bytes: &[u8]| {
        alloc::string::String::from_utf8_lossy(&bytes[..bytes.len().min(MOST_QUOTED_BYTES)]).into_owned()
    };
    let mut quoted = alloc::string::String::new();
    for argument in arguments {
        if quoted.len() >= MOST_QUOTED_BYTES {
            break;
        }
        quoted += &alloc::format!("'{}' ", quote(argument));
    }
    let name = quote(name);
    reply.error_with(format_args!("ERR unknown command '{name}', with args beginning with: {quoted}"));
}

/// The next `N` arguments; those that are not there are empty, which the table's counts prevent.
fn take<'a, const N: usize>(mut arguments: Arguments<'a>) -> [&'a [u8]; N] {
    core::array::from_fn(|_| arguments.next().unwrap_or_default())
}

/// A number the way Redis writes it: no plus sign, no leading zeroes, no blanks.
fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', ..] => true,
        _ => false,
    };
    if plain { str::from_utf8(text).ok()?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
