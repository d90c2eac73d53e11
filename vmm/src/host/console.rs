//! Where the guest's serial console goes: the terminal, a file, or a Unix socket.

use std::{
    fs::OpenOptions,
    io::{self, Read, Write},
    iter,
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::ingress::Inbox;

/// Pieces of output that may wait for a slow reader; beyond that output is dropped, never the VM held up.
const QUEUE: usize = 4096;
/// How long an orderly end waits for a reader that takes nothing.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// What goes through the queue.
enum Piece {
    Text(Vec<u8>),
    /// Everything before it is written: say so.
    Flush(Sender<()>),
}

/// The value of `--console`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsoleTarget {
    /// Standard output and input.
    Stdio,
    /// A file that is appended to.
    File(PathBuf),
    /// A Unix socket at which one client at a time may connect.
    Unix(PathBuf),
}

impl FromStr for ConsoleTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "stdio" => Ok(Self::Stdio),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            _ => Err(format!("'{text}' is none of stdio, file=FILE, unix=SOCKET")),
        }
    }
}

/// The writing end. A thread does the writing, so that a terminal that was stopped cannot stop the VM.
#[derive(Clone)]
pub struct Console {
    queue: Sender<Piece>,
}

impl Console {
    /// Opens `target`. Input goes to `inbox`.
    pub fn open(target: &ConsoleTarget, inbox: Arc<Inbox>) -> io::Result<Self> {
        let (queue, waiting) = bounded(QUEUE);
        match target {
            ConsoleTarget::Stdio => {
                thread::spawn(move || feed(io::stdin(), &inbox));
                thread::spawn(move || drain(&waiting, io::stdout()));
            }
            ConsoleTarget::File(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path)?;
                thread::spawn(move || drain(&waiting, file));
            }
            ConsoleTarget::Unix(path) => serve(UnixListener::bind(path)?, waiting, inbox),
        }
        Ok(Self { queue })
    }

    /// Hands a piece of output over; dropped when the reader is too far behind.
    pub fn write(&self, bytes: Vec<u8>) {
        if self.queue.try_send(Piece::Text(bytes)).is_err() {
            tracing::debug!("console output dropped: its reader is too slow");
        }
    }

    /// Waits until all that was written has reached its target, but not for a reader that takes nothing.
    pub fn flush(&self) {
        let (written, flushed) = bounded(1);
        if self.queue.send_timeout(Piece::Flush(written), FLUSH_PATIENCE).is_ok() {
            let _ = flushed.recv_timeout(FLUSH_PATIENCE);
        }
    }
}

fn drain(waiting: &Receiver<Piece>, mut target: impl Write) {
    while let Some((text, flush)) = next(waiting) {
        if target.write_all(&text).and_then(|()| target.flush()).is_err() {
            return;
        }
        if let Some(written) = flush {
            let _ = written.send(());
        }
    }
}

/// The text that waits, as one piece, and who is to be told when it is written; `None` when no more will come. A guest
/// says a byte at a time, and faster than a slow target takes bytes one by one.
fn next(waiting: &Receiver<Piece>) -> Option<(Vec<u8>, Option<Sender<()>>)> {
    let first = waiting.recv().ok()?;
    let mut text = Vec::new();
    for piece in iter::once(first).chain(waiting.try_iter().take(QUEUE)) {
        match piece {
            Piece::Text(bytes) => text.extend(bytes),
            Piece::Flush(written) => return Some((text, Some(written))),
        }
    }
    Some((text, None))
}

fn feed(mut source: impl Read, inbox: &Inbox) {
    let mut buffer = [0; 256];
    while let Ok(length @ 1..) = source.read(&mut buffer) {
        inbox.push_console(&buffer[..length]);
    }
}

/// One client at a time: the newest is the one that is written to.
fn serve(listener: UnixListener, waiting: Receiver<Piece>, inbox: Arc<Inbox>) {
    let client: Arc<Mutex<Option<UnixStream>>> = Arc::default();
    let newest = client.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (Ok(writer), inbox) = (stream.try_clone(), inbox.clone()) else { continue };
            *newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
            thread::spawn(move || feed(stream, &inbox));
        }
    });
    thread::spawn(move || {
        while let Some((text, flush)) = next(&waiting) {
            let mut client = client.lock().unwrap_or_else(PoisonError::into_inner);
            if client.as_mut().is_some_and(|stream| stream.write_all(&text).is_err()) {
                *client = None;
            }
            if let Some(written) = flush {
                let _ = written.send(());
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(depth: usize) -> (Console, Receiver<Piece>) {
        let (queue, waiting) = bounded(depth);
        (Console { queue }, waiting)
    }

    #[test]
    fn a_flush_comes_after_what_was_written() {
        let (console, waiting) = console(QUEUE);
        let (mut reader, writer) = UnixStream::pair().unwrap();
        thread::spawn(move || drain(&waiting, writer));
        console.write(b"last words".to_vec());
        console.flush();
        drop(console);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert_eq!(said, "last words");
    }

    #[test]
    fn what_waits_is_written_at_once() {
        let (console, waiting) = console(QUEUE);
        b"a byte at a time".iter().for_each(|byte| console.write(vec![*byte]));
        let (text, flush) = next(&waiting).unwrap();
        assert_eq!(text, b"a byte at a time");
        assert!(flush.is_none());
        drop(console);
        assert!(next(&waiting).is_none());
    }

    #[test]
    fn a_reader_that_takes_nothing_does_not_hold_up_the_end() {
        let (stuck, _nobody_reads) = console(1);
        stuck.flush();
        stuck.write(b"dropped".to_vec());
        stuck.flush();
    }

    #[test]
    fn a_target_is_a_kind_and_a_path() {
        assert_eq!("stdio".parse(), Ok(ConsoleTarget::Stdio));
        assert_eq!("file=/a".parse(), Ok(ConsoleTarget::File("/a".into())));
        assert_eq!("unix=/b".parse(), Ok(ConsoleTarget::Unix("/b".into())));
        assert!("file=".parse::<ConsoleTarget>().is_err());
        assert!("tty".parse::<ConsoleTarget>().is_err());
    }
}
