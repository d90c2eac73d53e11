//! Letting clients in: what all listeners of this program do alike.

use std::{
    io::{self, ErrorKind},
    net::{TcpListener, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::{UnixListener, UnixStream},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::control::Board;

/// The pause after a first failure, and the longest there is.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A socket at which somebody may knock.
pub trait Listen: AsFd {
    /// What one speaks with who came.
    type Stream;
    /// See [`TcpListener::accept`].
    fn accept_one(&self) -> io::Result<Self::Stream>;
    /// See [`TcpListener::set_nonblocking`].
    fn never_block(&self) -> io::Result<()>;
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    fn accept_one(&self) -> io::Result<TcpStream> {
        self.accept().map(|(stream, _)| stream)
    }

    fn never_block(&self) -> io::Result<()> {
        self.set_nonblocking(true)
    }
}

impl Listen for UnixListener {
    type Stream = UnixStream;

    fn accept_one(&self) -> io::Result<UnixStream> {
        self.accept().map(|(stream, _)| stream)
    }

    fn never_block(&self) -> io::Result<()> {
        self.set_nonblocking(true)
    }
}

/// Lets in who knocks, and knows what to do when nobody can be let in.
///
/// A process that has no descriptor or no memory left cannot even turn a client away: the client stays in the queue, and
/// who asked the kernel again at once would do nothing else. So it pauses, longer each time, and says so.
pub struct Door<L> {
    listener: L,
    /// What troubles are told by.
    name: &'static str,
    board: Board,
    /// Closed until then, and for how long.
    closed: Option<(Instant, Duration)>,
}

impl<L: Listen> Door<L> {
    /// Lets in who knocks at `listener`; `name` says in `status` which one it is.
    pub fn new(listener: L, name: &'static str, board: Board) -> io::Result<Self> {
        listener.never_block()?;
        Ok(Self { listener, name, board, closed: None })
    }

    /// Who knocks now, if anybody does and can be let in.
    pub fn accept(&mut self) -> Option<L::Stream> {
        if self.patience().is_some_and(|patience| !patience.is_zero()) {
            return None;
        }
        match self.listener.accept_one() {
            Ok(stream) => {
                self.open();
                Some(stream)
            }
            // Nobody is there. A descriptor for somebody would have been.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.open();
                None
            }
            // Who came has left again.
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {
                None
            }
            Err(error) => {
                self.close(&error);
                None
            }
        }
    }

    /// What to wait for; nothing while it is closed.
    pub fn interest(&self) -> Option<BorrowedFd<'_>> {
        self.closed.is_none().then(|| self.listener.as_fd())
    }

    /// After which time to look again without being called, if ever.
    pub fn patience(&self) -> Option<Duration> {
        self.closed.map(|(until, _)| until.saturating_duration_since(Instant::now()))
    }

    /// Waits for the next who can be let in.
    pub fn await_next(&mut self) -> L::Stream {
        loop {
            if let Some(stream) = self.accept() {
                return stream;
            }
            match self.patience() {
                Some(patience) => thread::sleep(patience),
                // An error here, such as an interruption, shows at the next attempt.
                None => drop(poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], None::<&Timespec>)),
            }
        }
    }

    fn open(&mut self) {
        if self.closed.take().is_some() {
            self.board.well(self.name);
        }
    }

    fn close(&mut self, error: &io::Error) {
        let pause = self.closed.map_or(FIRST_PAUSE, |(_, pause)| (pause * 2).min(LONGEST_PAUSE));
        self.closed = Some((Instant::now() + pause, pause));
        self.board.trouble(self.name, format!("nobody can be let in: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::VecDeque, os::fd::OwnedFd};

    use super::*;

    /// Answers as it is told.
    struct Script {
        descriptor: OwnedFd,
        answers: Cell<VecDeque<io::Result<u32>>>,
        asked: Cell<u32>,
    }

    impl AsFd for Script {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.descriptor.as_fd()
        }
    }

    impl Listen for Script {
        type Stream = u32;

        fn accept_one(&self) -> io::Result<u32> {
            self.asked.set(self.asked.get() + 1);
            let mut answers = self.answers.take();
            let answer = answers.pop_front().unwrap_or_else(|| Err(ErrorKind::WouldBlock.into()));
            self.answers.set(answers);
            answer
        }

        fn never_block(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn door(answers: impl IntoIterator<Item = io::Result<u32>>) -> Door<Script> {
        let (descriptor, _) = UnixStream::pair().unwrap();
        let answers = Cell::new(answers.into_iter().collect());
        Door::new(
            Script { descriptor: descriptor.into(), answers, asked: Cell::new(0) },
            "door",
            Board::default(),
        )
        .unwrap()
    }

    fn troubles<L>(door: &Door<L>) -> Vec<String> {
        door.board.snapshot().troubles.into_iter().map(|trouble| trouble.text).collect()
    }

    #[test]
    fn without_descriptors_it_is_closed_for_ever_longer_times_and_opens_again() {
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS] {
            let failed = || Err(io::Error::from_raw_os_error(errno));
            let mut door = door([Ok(1), failed(), failed(), Ok(2)]);
            assert_eq!(door.accept(), Some(1));
            assert!(troubles(&door).is_empty());

            assert_eq!(door.accept(), None);
            let asked = door.listener.asked.get();
            assert!(door.interest().is_none(), "who waits for it would be called at once, for nothing");
            for _ in 0..100 {
                assert_eq!(door.accept(), None);
            }
            assert_eq!(door.listener.asked.get(), asked, "it spins");
            assert!(troubles(&door)[0].contains("nobody can be let in"));

            let begun = Instant::now();
            assert_eq!(door.await_next(), 2);
            assert!(begun.elapsed() >= FIRST_PAUSE, "the second pause is longer than the first");
            assert!(troubles(&door).is_empty());
            assert!(door.interest().is_some());
        }
    }

    #[test]
    fn who_has_left_before_being_let_in_is_no_trouble() {
        let mut door = door([Err(ErrorKind::ConnectionAborted.into()), Ok(7)]);
        assert_eq!(door.accept(), None);
        assert!(troubles(&door).is_empty());
        assert_eq!(door.accept(), Some(7));
    }
}
