//! The incremental request parser.
//!
//! It looks at the bytes received so far and either finds a whole request, or that more bytes are needed, or an error
//! after which the connection cannot go on. Nothing is kept between calls. Arguments are slices of the input, or, of an
//! inline request, of what its words were written to.

use alloc::vec::Vec;
use core::fmt::Write;

use super::inline;

/// Most arguments of a request, its command included.
pub const MOST_ARGUMENTS: usize = 1024;
/// Most bytes of a request; an input this long holds a whole request or an error.
pub const MOST_REQUEST_BYTES: usize = 64 * 1024;
/// Longest inline request, and longest length line.
const MOST_LINE_BYTES: usize = 4096;

/// What is wrong with a request; `text` is the error reply for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The argument count is not a number, negative or above [`MOST_ARGUMENTS`].
    ArgumentCount,
    /// An argument's length is not a number, negative or beyond what the request may hold.
    ArgumentLength,
    /// Something else than `$` where an argument begins.
    NotBulk(u8),
    /// An inline request or a length line without an end.
    LineTooLong,
    /// The arguments are too long together.
    RequestTooLong,
    /// Quotes of an inline request that do not match, or do not end a word.
    Quotes,
}

impl ProtocolError {
    /// The text of the error reply.
    pub fn text(self) -> &'static str {
        match self {
            Self::ArgumentCount => "ERR Protocol error: invalid multibulk length",
            Self::ArgumentLength => "ERR Protocol error: invalid bulk length",
            Self::NotBulk(_) => "ERR Protocol error: expected '$' at the start of an argument",
            Self::LineTooLong => "ERR Protocol error: too big inline request",
            Self::RequestTooLong => "ERR Protocol error: request exceeds 64 KiB",
            Self::Quotes => "ERR Protocol error: unbalanced quotes in request",
        }
    }
}

/// A whole request; `'a` is the lifetime of the input and of the words of an inline request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Bulk strings, checked.
    body: &'a [u8],
    count: usize,
}

impl<'a> Request<'a> {
    /// Number of arguments, the command included; 0 for an empty line or array.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The arguments in order, the command first.
    pub fn arguments(&self) -> Arguments<'a> {
        Arguments { rest: self.body, left: self.count }
    }
}

/// Iterator over the arguments of a request.
#[derive(Clone)]
pub struct Arguments<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Arguments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let (argument, rest) = bulk(self.rest).ok()??;
        self.rest = rest;
        Some(argument)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Arguments<'_> {}

/// Parses the request at the start of `input`: the request and the bytes it takes, or `None` when more are needed. The words
/// of an inline request go to `words`, which then has a few bytes for each besides.
///
/// # Errors
/// A [`ProtocolError`] when no further input makes a request of it.
pub fn parse<'a>(
    input: &'a [u8],
    words: &'a mut Vec<u8>,
) -> Result<Option<(Request<'a>, usize)>, ProtocolError> {
    let found = if input.first() == Some(&b'*') { parse_array(input)? } else { parse_inline(input, words)? };
    match found {
        Some((_, bytes)) if bytes > MOST_REQUEST_BYTES => Err(ProtocolError::RequestTooLong),
        None if input.len() >= MOST_REQUEST_BYTES => Err(ProtocolError::RequestTooLong),
        found => Ok(found),
    }
}

fn parse_array(input: &[u8]) -> Result<Option<(Request<'_>, usize)>, ProtocolError> {
    let Some((count, body)) = length_line(&input[1..], ProtocolError::ArgumentCount)? else {
        return Ok(None);
    };
    // Redis ignores an array of negative length like an empty one.
    let count = usize::try_from(count).unwrap_or(0);
    if count > MOST_ARGUMENTS {
        return Err(ProtocolError::ArgumentCount);
    }
    let mut rest = body;
    for _ in 0..count {
        let Some((_, after)) = bulk(rest)? else {
            return Ok(None);
        };
        rest = after;
    }
    Ok(Some((Request { body, count }, input.len() - rest.len())))
}

fn parse_inline<'a>(
    input: &[u8],
    words: &'a mut Vec<u8>,
) -> Result<Option<(Request<'a>, usize)>, ProtocolError> {
    let Some(end) = input.iter().take(MOST_LINE_BYTES).position(|&byte| byte == b'\n') else {
        return if input.len() < MOST_LINE_BYTES { Ok(None) } else { Err(ProtocolError::LineTooLong) };
    };
    let count = inline::split(&input[..end], words)?;
    Ok(Some((Request { body: words, count }, end + 1)))
}

/// Writes `word` as a bulk string.
pub(super) fn push_bulk(word: &[u8], words: &mut Vec<u8>) {
    let mut length = alloc::string::String::new();
    // Writing to a string does not fail.
    let _ = write!(length, "${}\r\n", word.len());
    words.extend_from_slice(length.as_bytes());
    words.extend_from_slice(word);
    words.extend_from_slice(b"\r\n");
}

/// A piece of the input, and what follows it.
type Piece<'a> = (&'a [u8], &'a [u8]);

/// The bulk string at the start of `input` and what follows it; `None` when it is not all there.
fn bulk(input: &[u8]) -> Result<Option<Piece<'_>>, ProtocolError> {
    let Some((&kind, input)) = input.split_first() else {
        return Ok(None);
    };
    if kind != b'$' {
        return Err(ProtocolError::NotBulk(kind));
    }
    let Some((length, rest)) = length_line(input, ProtocolError::ArgumentLength)? else {
        return Ok(None);
    };
    let length = usize::try_from(length).map_err(|_| ProtocolError::ArgumentLength)?;
    if length > MOST_REQUEST_BYTES {
        return Err(ProtocolError::ArgumentLength);
    }
    // Like Redis, take whatever stands where the CR and LF belong.
    Ok((rest.len() >= length + 2).then(|| (&rest[..length], &rest[length + 2..])))
}

/// The number on the line at the start of `input`, and what follows the line; `error` if it is none.
fn length_line(input: &[u8], error: ProtocolError) -> Result<Option<(i64, &[u8])>, ProtocolError> {
    let Some(end) = input.iter().take(MOST_LINE_BYTES).position(|&byte| byte == b'\n') else {
        return if input.len() < MOST_LINE_BYTES { Ok(None) } else { Err(ProtocolError::LineTooLong) };
    };
    let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
    let number = str::from_utf8(line).ok().and_then(|text| text.parse().ok()).ok_or(error)?;
    Ok(Some((number, &input[end + 1..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(input: &[u8]) -> (Vec<Vec<u8>>, usize) {
        let mut words = Vec::new();
        let (request, bytes) = parse(input, &mut words).unwrap().unwrap();
        assert_eq!(request.arguments().count(), request.count());
        (request.arguments().map(<[u8]>::to_vec).collect(), bytes)
    }

    #[test]
    fn parses_an_array_of_bulk_strings() {
        let input = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n*1\r\n";
        let (found, bytes) = arguments(input);
        assert_eq!(found, [&b"SET"[..], b"k", b"a\r\nb"]);
        assert_eq!(&input[bytes..], b"*1\r\n");
    }

    #[test]
    fn parses_inline_words() {
        assert_eq!(arguments(b"  PING \t x\r\nrest"), (vec![b"PING".to_vec(), b"x".to_vec()], 12));
        assert_eq!(arguments(b"ECHO \"a b\"\r\n"), (vec![b"ECHO".to_vec(), b"a b".to_vec()], 12));
        assert_eq!(arguments(b"PING\n").0, [b"PING"]);
        assert_eq!(arguments(b"\r\n"), (vec![], 2));
        assert_eq!(arguments(b"*0\r\n"), (vec![], 4));
        assert_eq!(arguments(b"*-1\r\n"), (vec![], 5));
    }

    #[test]
    fn every_prefix_of_a_request_wants_more() {
        for input in [&b"*2\r\n$4\r\nECHO\r\n$12\r\nhello, world\r\n"[..], b"SET key value\r\n"] {
            for length in 0..input.len() {
                assert_eq!(parse(&input[..length], &mut Vec::new()), Ok(None), "{length} bytes of {input:?}");
            }
            assert_eq!(arguments(input).1, input.len());
        }
    }

    #[test]
    fn refuses_what_cannot_become_a_request() {
        let error = |input: &[u8]| parse(input, &mut Vec::new()).unwrap_err();
        assert_eq!(error(b"*x\r\n"), ProtocolError::ArgumentCount);
        assert_eq!(error(b"*1025\r\n"), ProtocolError::ArgumentCount);
        assert_eq!(error(b"*99999999999999999999\r\n"), ProtocolError::ArgumentCount);
        assert_eq!(error(b"*1\r\n$-1\r\n"), ProtocolError::ArgumentLength);
        assert_eq!(error(b"*1\r\n$65537\r\n"), ProtocolError::ArgumentLength);
        assert_eq!(error(b"*1\r\n$9223372036854775807\r\n"), ProtocolError::ArgumentLength);
        assert_eq!(error(b"*1\r\n:1\r\n"), ProtocolError::NotBulk(b':'));
        assert_eq!(error(&[b'a'; MOST_LINE_BYTES]), ProtocolError::LineTooLong);
        assert_eq!(error(&[&b"*"[..], &[b'1'; MOST_LINE_BYTES]].concat()), ProtocolError::LineTooLong);
    }

    #[test]
    fn an_input_of_the_most_bytes_is_a_request_or_an_error() {
        let mut input = b"*2\r\n$40000\r\n".to_vec();
        input.resize(MOST_REQUEST_BYTES - 1, b'x');
        input[40_012..40_022].copy_from_slice(b"\r\n$40000\r\n");
        assert_eq!(parse(&input, &mut Vec::new()), Ok(None));
        input.push(b'x');
        assert_eq!(parse(&input, &mut Vec::new()), Err(ProtocolError::RequestTooLong));
    }
}
