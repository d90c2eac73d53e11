//! The asking end of the control socket.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::Value;

use super::Request;
use crate::host::unix::connect;

/// Longer than any command takes; a process that was stopped must not hang its operator.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends a request and waits for its answer.
///
/// # Errors
/// Nobody listens at `socket`, or lets anybody in or answers in time, or the request is refused; the error says why.
pub fn request(socket: &Path, request: &Request) -> anyhow::Result<Value> {
    let mut stream = connect(socket)
        .with_context(|| format!("no ftvmm answers at the control socket {}", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    writeln!(stream, "{}", serde_json::to_string(request)?)?;
    let mut line = String::new();
    let read = BufReader::new(stream).read_line(&mut line);
    read.with_context(|| format!("the process at {} does not answer within {PATIENCE:?}", socket.display()))?;
    let mut answer: Value = serde_json::from_str(&line).context("the process ended before it answered")?;
    match answer.get("error").and_then(Value::as_str) {
        Some(reason) => bail!("refused: {reason}"),
        None => Ok(answer["ok"].take()),
    }
}
