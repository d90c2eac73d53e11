//! Inline requests: the words of a line, split as Redis does. In double quotes a backslash begins an escape (`\n`, `\r`, `\t`,
//! `\b`, `\a`, `\xHH`, or the next byte itself), in single quotes it stands for itself but before a single quote. Behind a
//! closing quote the word is over.

use alloc::vec::Vec;

use super::request::{MOST_ARGUMENTS, ProtocolError, push_bulk};

/// Writes the words of `line` to `words` as bulk strings; how many there are.
pub(super) fn split(line: &[u8], words: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    words.clear();
    let mut rest = line.trim_ascii_start();
    let mut word = Vec::new();
    let mut count = 0;
    while !rest.is_empty() {
        if count == MOST_ARGUMENTS {
            return Err(ProtocolError::ArgumentCount);
        }
        word.clear();
        rest = take_word(rest, &mut word)?.trim_ascii_start();
        push_bulk(&word, words);
        count += 1;
    }
    Ok(count)
}

/// Appends the word at the start of `line`, which is not empty, to `word`; what follows it.
fn take_word<'a>(mut line: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    while let Some((&byte, rest)) = line.split_first() {
        match byte {
            b'"' => return end_of_word(take_double(rest, word)?),
            b'\'' => return end_of_word(take_single(rest, word)?),
            _ if byte.is_ascii_whitespace() => break,
            _ => word.push(byte),
        }
        line = rest;
    }
    Ok(line)
}

/// A closing quote ends the line or stands before a blank.
fn end_of_word(rest: &[u8]) -> Result<&[u8], ProtocolError> {
    let ends = rest.first().is_none_or(u8::is_ascii_whitespace);
    if ends { Ok(rest) } else { Err(ProtocolError::Quotes) }
}

/// What stands in double quotes, behind the first of them.
fn take_double<'a>(mut line: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    loop {
        let (byte, rest) = match line {
            [b'"', rest @ ..] => return Ok(rest),
            [b'\\', b'x', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (digit(*high) << 4 | digit(*low), rest)
            }
            [b'\\', escaped, rest @ ..] => (escape(*escaped), rest),
            [byte, rest @ ..] => (*byte, rest),
            [] => return Err(ProtocolError::Quotes),
        };
        word.push(byte);
        line = rest;
    }
}

/// What stands in single quotes, behind the first of them.
fn take_single<'a>(mut line: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    loop {
        let (byte, rest) = match line {
            [b'\'', rest @ ..] => return Ok(rest),
            [b'\\', b'\'', rest @ ..] => (b'\'', rest),
            [byte, rest @ ..] => (*byte, rest),
            [] => return Err(ProtocolError::Quotes),
        };
        word.push(byte);
        line = rest;
    }
}

fn escape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// The value of a hexadecimal digit.
fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn splits(line: &[u8], expected: &[&[u8]]) {
        let (mut words, mut bulks) = (Vec::new(), Vec::new());
        assert_eq!(split(line, &mut words), Ok(expected.len()), "{}", line.escape_ascii());
        expected.iter().for_each(|word| push_bulk(word, &mut bulks));
        assert_eq!(words, bulks, "{}", line.escape_ascii());
    }

    #[test]
    fn words_are_quoted_as_redis_does() {
        splits(b"", &[]);
        splits(b" \t SET  k v ", &[b"SET", b"k", b"v"]);
        splits(br#"SET k "a b" "#, &[b"SET", b"k", b"a b"]);
        splits(br#"SET "" ''"#, &[b"SET", b"", b""]);
        splits(br#"ECHO "\x00\xfF\n\r\t\a\b\"\\\q\xg""#, &[b"ECHO", b"\0\xff\n\r\t\x07\x08\"\\qxg"]);
        splits(br"ECHO 'a\'b\n\x00'", &[b"ECHO", br"a'b\n\x00"]);
        splits(br#"SET k=" v""#, &[b"SET", b"k= v"]);
    }

    #[test]
    fn quotes_that_do_not_match_are_an_error() {
        for line in [&br#"""#[..], br#"SET k "v"#, br#""a"b"#, b"'", b"'a'b", br#""a\"#, br#""a\""#, br"'a\'"]
        {
            let found = split(line, &mut Vec::new());
            assert_eq!(found, Err(ProtocolError::Quotes), "{}", line.escape_ascii());
        }
    }
}
