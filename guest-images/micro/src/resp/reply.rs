//! Replies, written to the end of a byte buffer.

use alloc::vec::Vec;
use core::fmt::Write;

/// How a client wants its replies. A connection begins with version 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// RESP2.
    #[default]
    V2,
    /// RESP3, which has kinds of replies for what is an array or a string in version 2.
    V3,
}

/// Writes a client's replies to a buffer, in its protocol.
pub struct Reply<'a> {
    buffer: &'a mut Vec<u8>,
    protocol: &'a mut Protocol,
}

impl<'a> Reply<'a> {
    /// Replies go to the end of `buffer`.
    pub fn to(buffer: &'a mut Vec<u8>, protocol: &'a mut Protocol) -> Self {
        Self { buffer, protocol }
    }

    /// From here on replies are in `protocol`.
    pub fn speak(&mut self, protocol: Protocol) {
        *self.protocol = protocol;
    }

    /// What replies are in.
    pub fn protocol(&self) -> Protocol {
        *self.protocol
    }

    /// A status: `text` has no line end in it.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text);
    }

    /// `+OK`
    pub fn ok(&mut self) {
        self.simple("OK");
    }

    /// An error: `text` starts with its kind in capitals and has no line end in it.
    pub fn error(&mut self, text: &str) {
        self.line(b'-', text);
    }

    /// An error with values in it. What came from a client is shown without control characters.
    pub fn error_with(&mut self, text: core::fmt::Arguments) {
        self.buffer.push(b'-');
        // Writing to the buffer does not fail.
        let _ = OneLine(self.buffer).write_fmt(text);
        self.buffer.extend_from_slice(b"\r\n");
    }

    /// A number.
    pub fn integer(&mut self, value: i64) {
        self.number(b':', value);
    }

    /// A string of bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.number(b'$', bytes.len() as i64);
        self.buffer.extend_from_slice(bytes);
        self.buffer.extend_from_slice(b"\r\n");
    }

    /// The string that is not there.
    pub fn null(&mut self) {
        let null: &[u8] = match self.protocol {
            Protocol::V2 => b"$-1\r\n",
            Protocol::V3 => b"_\r\n",
        };
        self.buffer.extend_from_slice(null);
    }

    /// A string, or the one that is not there.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// The start of an array; its `count` elements follow as replies.
    pub fn array(&mut self, count: usize) {
        self.number(b'*', count as i64);
    }

    /// The start of a map; `count` keys follow, each with its value.
    pub fn map(&mut self, count: usize) {
        match self.protocol {
            Protocol::V2 => self.array(2 * count),
            Protocol::V3 => self.number(b'%', count as i64),
        }
    }

    /// A text for people.
    pub fn text(&mut self, text: &str) {
        if *self.protocol == Protocol::V2 {
            return self.bulk(text.as_bytes());
        }
        const KIND: &str = "txt:";
        self.number(b'=', (KIND.len() + text.len()) as i64);
        self.buffer.extend_from_slice(KIND.as_bytes());
        self.buffer.extend_from_slice(text.as_bytes());
        self.buffer.extend_from_slice(b"\r\n");
    }

    fn line(&mut self, kind: u8, text: &str) {
        self.buffer.push(kind);
        self.buffer.extend_from_slice(text.as_bytes());
        self.buffer.extend_from_slice(b"\r\n");
    }

    fn number(&mut self, kind: u8, value: i64) {
        self.buffer.push(kind);
        let _ = OneLine(self.buffer).write_fmt(format_args!("{value}"));
        self.buffer.extend_from_slice(b"\r\n");
    }
}

/// Text for a line: control characters become spaces.
struct OneLine<'a>(&'a mut Vec<u8>);

impl Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.extend(text.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_each_kind() {
        let mut buffer = Vec::new();
        let mut protocol = Protocol::V2;
        let mut reply = Reply::to(&mut buffer, &mut protocol);
        reply.array(6);
        reply.ok();
        reply.error("ERR no");
        reply.integer(i64::MIN);
        reply.bulk(b"a\r\nb");
        reply.null();
        reply.error_with(format_args!("ERR '{}'", "a\r\n+OK"));
        assert_eq!(
            buffer,
            b"*6\r\n+OK\r\n-ERR no\r\n:-9223372036854775808\r\n$4\r\na\r\nb\r\n$-1\r\n-ERR 'a  +OK'\r\n"
        );
    }

    #[test]
    fn maps_texts_and_nulls_have_kinds_of_their_own_in_version_3() {
        let written = |protocol| {
            let (mut buffer, mut protocol) = (Vec::new(), protocol);
            let mut reply = Reply::to(&mut buffer, &mut protocol);
            reply.map(1);
            reply.text("a\r\nb");
            reply.null();
            buffer
        };
        assert_eq!(written(Protocol::V2), b"*2\r\n$4\r\na\r\nb\r\n$-1\r\n");
        assert_eq!(written(Protocol::V3), b"%1\r\n=8\r\ntxt:a\r\nb\r\n_\r\n");
    }
}
