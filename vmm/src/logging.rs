//! The log on standard error, which must never hold up or end a VM.
//!
//! Whoever reads it may be slow, stopped or gone, and the disk that it goes to may be full. So lines go through a bounded
//! queue to a thread of their own; what does not fit, or cannot be written, is dropped and counted. How many lines
//! that were is said as soon as the log can be written again, and in `status` before that.

use std::{
    io::{self, ErrorKind, Write},
    os::fd::BorrowedFd,
    panic::PanicHookInfo,
    process,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// Lines that may wait for whoever reads the log.
const QUEUE: usize = 4096;
/// How long the end of the process waits for the log to be written.
const LAST_WORDS: Duration = Duration::from_millis(500);

static LINES: OnceLock<Sender<Line>> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);
/// Of the dropped ones, those that a line of the log has told of.
static TOLD: AtomicU64 = AtomicU64::new(0);

enum Line {
    Text(Vec<u8>),
    /// Everything before it is written, or dropped: say so.
    Flush(Sender<()>),
}

/// Lines of the log that were lost since the process began.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Lines that were lost and that the log itself does not tell of yet: it cannot be written.
pub fn untold() -> u64 {
    dropped() - TOLD.load(Ordering::Relaxed)
}

/// Starts logging to standard error, and has a panic in any thread end the process at once, so that the other side of
/// a pair takes over instead of waiting for what is half dead. A thread that cannot be started leaves the log unwritten.
pub fn start(filter: EnvFilter, colours: bool) {
    let (sender, lines) = bounded(QUEUE);
    let _ = LINES.set(sender);
    let _ = thread::Builder::new().name("log".into()).spawn(move || write_all(&lines, &mut StandardError));
    std::panic::set_hook(Box::new(die));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Queue)
        .with_ansi(colours)
        .with_target(false)
        .init();
}

/// Writes a line to standard error, behind what was logged; dropped when that cannot be written.
pub fn say(line: &str) {
    put(Line::Text(format!("{line}\n").into_bytes()));
}

/// Waits until what was logged is written, but not for a reader that takes nothing.
pub fn flush() {
    let (written, flushed) = bounded(1);
    let Some(lines) = LINES.get() else { return };
    if lines.send_timeout(Line::Flush(written), LAST_WORDS).is_ok() {
        let _ = flushed.recv_timeout(LAST_WORDS);
    }
}

fn die(info: &PanicHookInfo<'_>) {
    let thread = thread::current();
    say(&format!("ftvmm: thread {} {info}", thread.name().unwrap_or("without a name")));
    flush();
    process::abort();
}

fn put(line: Line) {
    let taken = LINES.get().is_some_and(|lines| lines.try_send(line).is_ok());
    if !taken {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

fn write_all(lines: &Receiver<Line>, target: &mut impl Write) {
    for line in lines {
        match line {
            Line::Flush(written) => {
                let _ = written.send(());
            }
            Line::Text(text) => write_one(&text, target),
        }
    }
}

fn write_one(text: &[u8], target: &mut impl Write) {
    let missing = untold();
    if missing > 0 {
        if target.write_all(format!("({missing} lines of the log were lost)\n").as_bytes()).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        TOLD.fetch_add(missing, Ordering::Relaxed);
    }
    if target.write_all(text).is_err() {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Standard error without the lock and the panics of the standard library's macros.
struct StandardError;

impl Write for StandardError {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let file = rustix::stdio::stderr();
        match rustix::io::write(file, text) {
            Ok(count) => Ok(count),
            // Somebody made it non-blocking; this thread may wait.
            Err(rustix::io::Errno::AGAIN) => {
                wait_for_room(file)?;
                Err(ErrorKind::Interrupted.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn wait_for_room(file: BorrowedFd<'_>) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    match poll(&mut [PollFd::from_borrowed_fd(file, PollFlags::OUT)], None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes a line of what the subscriber writes.
#[derive(Clone, Copy)]
struct Queue;

impl MakeWriter<'_> for Queue {
    type Writer = OneLine;

    fn make_writer(&self) -> OneLine {
        OneLine(Vec::new())
    }
}

struct OneLine(Vec<u8>);

impl Write for OneLine {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for OneLine {
    fn drop(&mut self) {
        put(Line::Text(std::mem::take(&mut self.0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what it is given while it has room.
    struct Sometimes {
        works: bool,
        written: Vec<u8>,
    }

    impl Write for Sometimes {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            if !self.works {
                return Err(ErrorKind::StorageFull.into());
            }
            self.written.extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_could_not_be_written_is_counted_and_told_once_it_can() {
        let mut target = Sometimes { works: false, written: Vec::new() };
        let before = dropped();
        for _ in 0..3 {
            write_one(b"lost\n", &mut target);
        }
        assert!(dropped() >= before + 3 && untold() >= 3);
        target.works = true;
        write_one(b"kept\n", &mut target);
        write_one(b"kept\n", &mut target);
        let text = String::from_utf8(target.written).unwrap();
        assert!(text.contains("lines of the log were lost)\nkept\nkept\n"), "{text}");
        assert_eq!(untold(), 0);
    }
}
