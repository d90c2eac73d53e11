//! Replies, written to the end of a byte buffer.

use alloc::vec::Vec;
use core::fmt::Write;

/// Writes replies to a buffer.
pub struct Reply<'a>(&'a mut Vec<u8>);

impl<'a> Reply<'a> {
    /// Replies go to the end of `buffer`.
    pub fn to(buffer: &'a mut Vec<u8>) -> Self {
        Self(buffer)
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
        self.0.push(b'-');
        // Writing to the buffer does not fail.
        let _ = OneLine(self.0).write_fmt(text);
        self.0.extend_from_slice(b"\r\n");
    }

    /// A number.
    pub fn integer(&mut self, value: i64) {
        self.number(b':', value);
    }

    /// A string of bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.number(b'$', bytes.len() as i64);
        self.0.extend_from_slice(bytes);
        self.0.extend_from_slice(b"\r\n");
    }

    /// The string that is not there.
    pub fn null(&mut self) {
        self.0.extend_from_slice(b"$-1\r\n");
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

    fn line(&mut self, kind: u8, text: &str) {
        self.0.push(kind);
        self.0.extend_from_slice(text.as_bytes());
        self.0.extend_from_slice(b"\r\n");
    }

    fn number(&mut self, kind: u8, value: i64) {
        self.0.push(kind);
        let _ = OneLine(self.0).write_fmt(format_args!("{value}"));
        self.0.extend_from_slice(b"\r\n");
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
        let mut reply = Reply::to(&mut buffer);
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
}
