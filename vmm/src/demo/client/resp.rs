//! One connection to a server that speaks RESP2 (the Redis serialization protocol), one request at a time.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::{Action, Reply};

/// The longest line and the longest value taken from a server, in bytes: it may be broken or hostile.
const MOST_LINE: u64 = 1024;
const MOST_VALUE: usize = 1 << 20;

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects; `patience` bounds the connecting and each later wait for the server.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn open(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        // A request is one small segment; waiting for more would only measure the delay.
        stream.set_nodelay(true)?;
        Self { stream: BufReader::new(stream) }.with_patience(patience)
    }

    /// Changes the bound of each later wait for the server.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn with_patience(self, patience: Duration) -> io::Result<Self> {
        self.stream.get_ref().set_read_timeout(Some(patience))?;
        self.stream.get_ref().set_write_timeout(Some(patience))?;
        Ok(self)
    }

    /// Sends a command and waits for its answer. After an error the connection is of no more use, and whether the
    /// command was carried out is unknown.
    ///
    /// # Errors
    /// Those of the socket; [`ErrorKind::InvalidData`] when the server breaks the protocol.
    pub fn call(&mut self, words: &[&[u8]]) -> io::Result<Reply> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&request)?;
        self.reply()
    }

    /// Carries out `action` on `key`.
    ///
    /// # Errors
    /// Those of [`call`](Self::call).
    pub fn request(&mut self, key: &str, action: &Action) -> io::Result<Reply> {
        let key = key.as_bytes();
        match action {
            Action::Incr => self.call(&[b"INCR", key]),
            Action::Get => self.call(&[b"GET", key]),
            Action::Set(value) => self.call(&[b"SET", key, value]),
            Action::Append(text) => self.call(&[b"APPEND", key, text]),
            Action::Delete => self.call(&[b"DEL", key]),
        }
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let Some(kind) = line.chars().next() else { return Err(broken("an empty line")) };
        let rest = &line[kind.len_utf8()..];
        match kind {
            '+' => Ok(Reply::Status(rest.to_owned())),
            '-' => Ok(Reply::Error(rest.to_owned())),
            ':' => Ok(Reply::Integer(rest.parse().map_err(|_| broken(&line))?)),
            '$' if rest == "-1" => Ok(Reply::Value(None)),
            '$' => Ok(Reply::Value(Some(self.value(rest.parse().map_err(|_| broken(&line))?)?))),
            _ => Err(broken(&line)),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.stream).take(MOST_LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let text = line.strip_suffix(b"\r\n").ok_or_else(|| broken("a line without an end"))?;
        String::from_utf8(text.to_owned()).map_err(|_| broken("a line that is no text"))
    }

    fn value(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > MOST_VALUE {
            return Err(broken(&format!("a value of {length} bytes")));
        }
        let mut value = vec![0; length + 2];
        self.stream.read_exact(&mut value)?;
        if value.split_off(length) != b"\r\n" {
            return Err(broken("a value without an end"));
        }
        Ok(value)
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("not RESP: {what:?}"))
}
