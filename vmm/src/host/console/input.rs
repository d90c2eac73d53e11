//! Standard input as the console's: what is typed goes to the guest, as fast as the guest takes it.

use std::{
    fs::File,
    io::{self, ErrorKind, IsTerminal, Read},
    os::fd::AsFd,
    sync::Arc,
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Signal, getpid, kill_process},
};

use super::{Escape, RawTerminal, Typed};
use crate::{ingress::Inbox, logging};

/// What was typed and waits for the guest, bytes. When there is more, nothing is read: who types or pastes has to wait, as
/// a writer to a pipe does.
const MAX_WAITING: usize = 64 << 10;
/// How often a guest that had no room is asked again.
const AGAIN: Duration = Duration::from_millis(20);
/// How often a terminal that is another job's is tried.
const BACKGROUND: Duration = Duration::from_secs(1);

/// Starts to read standard input, which is made raw if it is a terminal.
pub fn start(inbox: Arc<Inbox>) -> io::Result<()> {
    let terminal = RawTerminal::enter()?;
    if terminal.is_some() {
        logging::say(&format!(
            "this terminal is the guest's console; {}. To leave is to end this process as SIGINT does",
            Escape::HELP
        ));
    }
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let body = move || {
        // Restored when the input ends, and otherwise by main.
        let _terminal = terminal;
        feed(input, &inbox, || {
            let _ = kill_process(getpid(), Signal::INT);
        });
    };
    thread::Builder::new().name("console-input".into()).spawn(body)?;
    Ok(())
}

/// Moves what `input` gives to the inbox until it ends or the user leaves, if it is a terminal.
fn feed(mut input: File, inbox: &Inbox, leave: impl FnOnce()) {
    let is_terminal = input.is_terminal();
    let (mut escape, mut waiting, mut ended) = (Escape::default(), Vec::new(), false);
    while !ended || !waiting.is_empty() {
        let taken = inbox.push_console(&waiting);
        waiting.drain(..taken);
        if ended || waiting.len() >= MAX_WAITING {
            thread::sleep(AGAIN);
            continue;
        }
        if !is_readable(&input, !waiting.is_empty()) {
            continue;
        }
        let mut piece = [0; 4096];
        match input.read(&mut piece) {
            Ok(0) => ended = true,
            Ok(length) if is_terminal => {
                let Typed { bytes, leave: leaves } = escape.filter(&piece[..length]);
                waiting.extend(bytes);
                if leaves {
                    return leave();
                }
            }
            Ok(length) => waiting.extend(&piece[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            // The terminal is another job's, until this one is brought to the foreground.
            Err(error) if is_terminal && error.raw_os_error() == Some(libc::EIO) => thread::sleep(BACKGROUND),
            Err(error) => {
                tracing::info!("no more console input: {error}");
                ended = true;
            }
        }
    }
}

/// Waits for input; while something waits for the guest, only for a moment.
fn is_readable(input: &File, hurry: bool) -> bool {
    let again = Timespec { tv_sec: 0, tv_nsec: AGAIN.as_nanos() as i64 };
    let mut watched = [PollFd::new(input, PollFlags::IN)];
    matches!(poll(&mut watched, hurry.then_some(&again)), Ok(1..))
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::fd::OwnedFd};

    use ftlog::Event;

    use super::*;
    use replay::Room;

    #[test]
    fn what_is_pasted_faster_than_the_guest_reads_is_all_there_in_the_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let inbox = Arc::new(Inbox::default());
        let mut pasted: Vec<u8> = (0..200_000u32).map(|number| (number % 251) as u8).collect();
        pasted.extend(b"\x1d. leaves only a terminal");
        let all = pasted.clone();
        let paste = thread::spawn(move || writer.write_all(&all));
        let guest = inbox.clone();
        let feeder = thread::spawn(move || {
            feed(File::from(OwnedFd::from(reader)), &inbox, || panic!("a pipe's bytes are no keys"));
        });
        let (mut read, mut events) = (Vec::new(), Vec::new());
        while read.len() < pasted.len() {
            let room = Room { frames: 0, console: 4096 };
            guest.wait(room, Some(Duration::from_secs(10)));
            guest.take(room, &mut events);
            assert!(!events.is_empty(), "only {} bytes have come", read.len());
            for event in events.drain(..) {
                let Event::ConsoleInput(bytes) = event else { panic!("{event:?}") };
                read.extend(bytes);
            }
        }
        assert!(read == pasted);
        paste.join().unwrap().unwrap();
        feeder.join().unwrap();
    }
}
