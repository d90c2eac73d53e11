//! Commands: how a server's table of names and argument counts is searched, and the commands every server has.
//!
//! Replies and error texts are those of Redis 7 wherever a client might look at them.

pub(crate) mod common;

use core::fmt::Display;

use crate::resp::{Arguments, Reply, Request};
use crate::server::After;

/// The reply to a number that is none.
pub(crate) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
/// The reply to options that do not fit together.
pub(crate) const SYNTAX: &str = "ERR syntax error";

/// Most of a client's own words that an error repeats, in bytes.
const MOST_QUOTED_BYTES: usize = 128;

/// What a command does: with the service `S`, the arguments behind its name, and where the reply goes.
type Handler<S> = fn(&mut S, Arguments, &mut Reply);

/// A row of a server's table.
pub struct Command<S> {
    name: &'static str,
    /// Fewest and most arguments, the name not counted.
    arguments: (usize, usize),
    handler: Handler<S>,
}

/// As many arguments as a request can have.
pub(crate) const ANY: usize = usize::MAX;

/// A row of a server's table: a name in small letters, and the fewest and most arguments behind it.
pub(crate) const fn command<S>(
    name: &'static str,
    fewest: usize,
    most: usize,
    handler: Handler<S>,
) -> Command<S> {
    Command { name, arguments: (fewest, most), handler }
}

/// Executes a request by the table `commands` and writes its reply, if it has a command in it.
pub fn execute<S>(commands: &[Command<S>], service: &mut S, request: Request, reply: &mut Reply) -> After {
    let mut arguments = request.arguments();
    let Some(name) = arguments.next() else {
        return After::Continue;
    };
    let Some(command) = commands.iter().find(|command| name.eq_ignore_ascii_case(command.name.as_bytes()))
    else {
        unknown(name, arguments, reply);
        return After::Continue;
    };
    let (fewest, most) = command.arguments;
    if arguments.len() < fewest || arguments.len() > most {
        wrong_arguments(command.name, reply);
        return After::Continue;
    }
    (command.handler)(service, arguments, reply);
    if command.name == "quit" { After::Close } else { After::Continue }
}

pub(crate) fn wrong_arguments(name: impl Display, reply: &mut Reply) {
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
pub(crate) fn take<'a, const N: usize>(mut arguments: Arguments<'a>) -> [&'a [u8]; N] {
    core::array::from_fn(|_| arguments.next().unwrap_or_default())
}

/// A number the way Redis writes it: no plus sign, no leading zeroes, no blanks.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', ..] => true,
        _ => false,
    };
    if plain { str::from_utf8(text).ok()?.parse().ok() } else { None }
}
