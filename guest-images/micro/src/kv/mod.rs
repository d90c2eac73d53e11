//! The key-value service: keys and values in memory.

mod numbers;
mod server;
mod set;
mod strings;

use core::convert::Infallible;

use crate::command::{self, ANY, Command, command, common};
use crate::resp::{Reply, Request};
use crate::server::{After, Occasion, Service};
use crate::store::{Full, Store};

/// Longest value, in bytes; what APPEND can make, and close to what a request can hold.
pub const MOST_VALUE_BYTES: usize = 60 * 1024;

const FULL: &str = "OOM command not allowed when used memory > 'maxmemory'.";
const TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";

/// The service, and what its commands may ask about the moment.
pub struct KeyValue {
    store: Store,
    occasion: Occasion,
}

impl KeyValue {
    /// An empty service that keeps to `memory` bytes of heap.
    ///
    /// # Errors
    /// [`Full`] when the heap does not have that much.
    pub fn new(memory: usize) -> Result<Self, Full> {
        Ok(Self { store: Store::new(memory)?, occasion: Occasion::default() })
    }

    /// The store, to look at.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

impl Service for KeyValue {
    /// Every reply is there at once.
    type Wait = Infallible;

    fn execute(&mut self, request: Request, occasion: &Occasion, reply: &mut Reply) -> After {
        self.occasion = *occasion;
        command::execute(&COMMANDS, self, request, reply)
    }

    fn finish(&mut self, wait: &Infallible, _: &mut Reply) -> bool {
        match *wait {}
    }
}

/// In the order in which they are looked for: the frequent ones first.
static COMMANDS: [Command<KeyValue>; 28] = [
    command("get", 1, 1, strings::get),
    command("set", 2, ANY, set::set),
    command("incr", 1, 1, numbers::incr),
    command("ping", 0, 1, common::ping),
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
    command("echo", 1, 1, common::echo),
    command("time", 0, 0, server::time),
    command("dbsize", 0, 0, server::dbsize),
    command("flushall", 0, 1, server::flush),
    command("flushdb", 0, 1, server::flush),
    command("info", 0, ANY, server::info),
    command("config", 1, ANY, server::config),
    command("command", 0, ANY, server::command),
    command("client", 1, ANY, common::client),
    command("hello", 0, ANY, common::hello),
    command("select", 1, 1, common::select),
    command("quit", 0, ANY, common::quit),
    command("reset", 0, 0, common::reset),
];

#[cfg(test)]
mod tests;
