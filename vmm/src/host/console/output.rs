//! Writing to a target that may fail, or take nothing for a while.

use std::{
    io::{ErrorKind, Write},
    thread,
    time::Duration,
};

use super::spool::Spool;
use crate::control::Board;

/// What a target that fails is called in `status`.
const TROUBLE: &str = "console";
/// The pause after a first failure, and the longest there is.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Writes what comes to the spool to `target`, for ever. What cannot be written is tried again: a disk that is full, a
/// limit on a file's size, a terminal that hung up may be so for a while, and the spool bounds what waits.
pub fn drain(spool: &Spool, mut target: impl Write, board: &Board) {
    loop {
        write(&spool.take(), &mut target, board);
        spool.done();
    }
}

fn write(mut text: &[u8], target: &mut impl Write, board: &Board) {
    let mut pause = FIRST_PAUSE;
    while !text.is_empty() {
        match target.write(text) {
            Ok(written @ 1..) => {
                text = &text[written..];
                pause = FIRST_PAUSE;
                board.well(TROUBLE);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A pipe or a terminal that somebody has set so, and that is full.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FIRST_PAUSE),
            failed => {
                let reason =
                    failed.err().map_or("nothing can be written".to_owned(), |error| error.to_string());
                board.trouble(TROUBLE, format!("it cannot be written, and is tried again: {reason}"));
                thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, io};

    use super::*;

    /// Answers as it is told, and takes a byte at a time after that.
    struct Script {
        answers: VecDeque<io::Result<usize>>,
        written: Vec<u8>,
        board: Board,
        ill: usize,
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.ill = self.ill.max(self.board.snapshot().troubles.len());
            match self.answers.pop_front() {
                Some(answer) => answer,
                None => {
                    self.written.push(bytes[0]);
                    Ok(1)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_target_that_failed_is_written_again_and_nothing_is_lost() {
        let board = Board::default();
        let errors = [libc::ENOSPC, libc::EFBIG, libc::EINTR, libc::EAGAIN, libc::EIO, libc::EPIPE];
        let mut answers: VecDeque<_> =
            errors.map(|errno| Err(io::Error::from_raw_os_error(errno))).into_iter().collect();
        answers.push_back(Ok(0));
        let mut target = Script { answers, written: Vec::new(), board: board.clone(), ill: 0 };
        write(b"precious", &mut target, &board);
        assert_eq!(target.written, b"precious");
        assert_eq!(target.ill, 1, "the trouble was not to be seen");
        assert!(board.snapshot().troubles.is_empty());
    }
}
