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

use crate::host::clock::wall_ns;

/// Lines that may wait for whoever reads the log.
const QUEUE: usize = 4096;
/// How long the end of the process waits for the log to be written.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long a panic does: until then the process looks alive to the other side.
const PANIC_WORDS: Duration = Duration::from_millis(50);
/// A line that is not taken for this long is trouble, ms.
const STUCK_MS: u64 = 1000;

static LINES: OnceLock<Sender<Line>> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);
/// Of the dropped ones, those that a line of the log has told of.
static TOLD: AtomicU64 = AtomicU64::new(0);
/// Since when lines are lost that the log does not tell of, Unix time in ms.
static LOSING_SINCE_MS: AtomicU64 = AtomicU64::new(0);
/// Since when a line is being written, Unix time in ms; 0 when none is.
static WRITING_SINCE_MS: AtomicU64 = AtomicU64::new(0);

enum Line {
    Text(Vec<u8>),
    /// Everything before it is written, or dropped: say so.
    Flush(Sender<()>),
}

/// What is wrong with the log and since when (Unix time, ms), which it cannot tell of itself.
pub fn trouble() -> Option<(u64, String)> {
    let (lost, writing_ms) = (untold(), WRITING_SINCE_MS.load(Ordering::Relaxed));
    if lost > 0 {
        let text = format!("standard error takes nothing: {lost} lines of the log are lost");
        return Some((LOSING_SINCE_MS.load(Ordering::Relaxed), text));
    }
    let stuck = writing_ms != 0 && now_ms().saturating_sub(writing_ms) > STUCK_MS;
    stuck.then(|| (writing_ms, "nobody reads standard error: the log waits".to_owned()))
}

/// Lines that were lost and that the log itself does not tell of yet.
fn untold() -> u64 {
    let told = TOLD.load(Ordering::Relaxed);
    DROPPED.load(Ordering::Relaxed).saturating_sub(told)
}

fn lose_one() {
    if untold() == 0 {
        LOSING_SINCE_MS.store(now_ms(), Ordering::Relaxed);
    }
    DROPPED.fetch_add(1, Ordering::Relaxed);
}

fn now_ms() -> u64 {
    wall_ns() / 1_000_000
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
    flush_within(LAST_WORDS);
}

fn flush_within(patience: Duration) {
    let (written, flushed) = bounded(1);
    let Some(lines) = LINES.get() else { return };
    if lines.send_timeout(Line::Flush(written), patience).is_ok() {
        let _ = flushed.recv_timeout(patience);
    }
}

fn die(info: &PanicHookInfo<'_>) {
    let thread = thread::current();
    say(&format!("ftvmm: thread {} {info}", thread.name().unwrap_or("without a name")));
    flush_within(PANIC_WORDS);
    process::abort();
}

fn put(line: Line) {
    let taken = LINES.get().is_some_and(|lines| lines.try_send(line).is_ok());
    if !taken {
        lose_one();
    }
}

fn write_all(lines: &Receiver<Line>, target: &mut impl Write) {
    for line in lines {
        match line {
            Line::Flush(written) => {
                let _ = written.send(());
            }
            Line::Text(text) => {
                WRITING_SINCE_MS.store(now_ms(), Ordering::Relaxed);
                write_one(&text, target);
                WRITING_SINCE_MS.store(0, Ordering::Relaxed);
            }
        }
    }
}

fn write_one(text: &[u8], target: &mut impl Write) {
    let missing = untold();
    if missing > 0 {
        if target.write_all(format!("({missing} lines of the log were lost)\n").as_bytes()).is_err() {
            lose_one();
            return;
        }
        TOLD.fetch_add(missing, Ordering::Relaxed);
    }
    if target.write_all(text).is_err() {
        lose_one();
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
    use std::os::unix::process::ExitStatusExt;

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
        for _ in 0..3 {
            write_one(b"lost\n", &mut target);
        }
        let (since_ms, told) = trouble().unwrap();
        assert!(untold() >= 3 && now_ms() - since_ms < 60_000, "{told} since {since_ms}");
        target.works = true;
        write_one(b"kept\n", &mut target);
        write_one(b"kept\n", &mut target);
        let text = String::from_utf8(target.written).unwrap();
        assert!(text.contains("lines of the log were lost)\nkept\nkept\n"), "{text}");
        assert_eq!(trouble(), None);
    }

    /// The test's own program, run again as a child: a panic ends the process that it is in.
    #[test]
    fn a_panic_in_any_thread_ends_the_process_at_once_and_is_told() {
        const CHILD: &str = "FTVMM_TEST_PANIC";
        if std::env::var_os(CHILD).is_some() {
            start(EnvFilter::new("info"), false);
            let _ =
                thread::Builder::new().name("broken".into()).spawn(|| panic!("on purpose")).unwrap().join();
            process::exit(0);
        }
        let name = "logging::tests::a_panic_in_any_thread_ends_the_process_at_once_and_is_told";
        let mut child = process::Command::new(std::env::current_exe().unwrap());
        let ended = child.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
        assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{}", ended.status);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.contains("thread broken") && said.contains("on purpose"), "{said}");
    }
}
