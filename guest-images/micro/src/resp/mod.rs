//! The Redis protocol, versions 2 and 3 (RESP2, RESP3): requests in, replies out.
//!
//! Source: the Redis serialization protocol specification, and inline commands as Redis splits them.

mod inline;
mod reply;
mod request;

pub use reply::{Protocol, Reply};
/// No reply is longer, in bytes.
pub const MOST_REPLY_BYTES: usize = 64 * 1024 + 256;

pub use request::{Arguments, MOST_ARGUMENTS, MOST_REQUEST_BYTES, ProtocolError, Request, parse};
