//! What the harness and the agent in a lab host say to each other: one command per connection, its output, its end.
//!
//! Also compiled into the agent, so it uses the standard library only.

use std::io::{self, ErrorKind, Read, Write};

/// The agent's TCP port, on the control network.
pub const PORT: u16 = 7100;
/// The longest body of a frame, bytes.
pub const MAX_BODY: usize = 1 << 20;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// To the agent: a shell command.
    Command = 1,
    /// A piece of its standard output.
    Output = 2,
    /// A piece of its standard error.
    Errors = 3,
    /// Its exit status, in decimal: 128 and the signal when it was killed by one. The last frame.
    Exit = 4,
}

/// Writes one frame.
///
/// # Errors
/// Those of the stream, and a body that is too long.
pub fn write(stream: &mut impl Write, kind: Kind, body: &[u8]) -> io::Result<()> {
    if body.len() > MAX_BODY {
        return Err(io::Error::new(ErrorKind::InvalidInput, "a frame's body is too long"));
    }
    let mut frame = vec![kind as u8];
    frame.extend((body.len() as u32).to_le_bytes());
    frame.extend(body);
    stream.write_all(&frame)
}

/// Reads one frame.
///
/// # Errors
/// Those of the stream, `UnexpectedEof` at its end, and bytes that are no frame.
pub fn read(stream: &mut impl Read) -> io::Result<(Kind, Vec<u8>)> {
    let mut header = [0; 5];
    stream.read_exact(&mut header)?;
    let kind = match header[0] {
        1 => Kind::Command,
        2 => Kind::Output,
        3 => Kind::Errors,
        4 => Kind::Exit,
        other => return Err(io::Error::new(ErrorKind::InvalidData, format!("a frame of kind {other}"))),
    };
    let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if length > MAX_BODY {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((kind, body))
}
