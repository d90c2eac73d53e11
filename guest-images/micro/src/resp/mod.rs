//! The Redis protocol, version 2 (RESP2): requests in, replies out.
//!
//! Source: the Redis serialization protocol specification, RESP2 part, and inline commands.

mod reply;
mod request;

pub use reply::Reply;
/// No reply is longer, in bytes.
pub const MOST_REPLY_BYTES: usize = 64 * 1024 + 256;

pub use request::{Arguments, MOST_ARGUMENTS, MOST_REQUEST_BYTES, ProtocolError, Request, parse};
