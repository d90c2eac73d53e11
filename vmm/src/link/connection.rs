//! A TCP connection that carries frames, without blocking.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use ftlog::{Frame, FrameDecoder, FrameError, FrameKind, encode_frame};
use protocol::LossReason;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::host::reserve;

const READ_CHUNK: usize = 256 << 10;
/// What was written of the queue is let go when it is this much, so that a queue that never runs dry does not grow.
const COMPACT: usize = 1 << 20;
/// Above this much in the socket that the network has not taken, bytes, it takes no more. By itself a kernel takes megabytes,
/// and a heartbeat behind them waits until they are sent; less than this, and a fast wire waits for this process.
const NOT_SENT: libc::c_int = 128 << 10;

/// How long the other end may take to read a last word.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why nothing more comes over a connection.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The peer or the network ended it.
    #[error("the connection was closed")]
    Closed,
    /// What came is not a frame stream.
    #[error(transparent)]
    Damaged(#[from] FrameError),
    /// Nothing came in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

impl From<ReceiveError> for LossReason {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Closed | ReceiveError::Timeout(_) => LossReason::Closed,
            ReceiveError::Damaged(_) => LossReason::Damaged,
        }
    }
}

/// One end of a connection between monitors.
pub struct Connection {
    stream: Arc<TcpStream>,
    decoder: FrameDecoder,
    buffer: Vec<u8>,
    received_bytes: u64,
    /// The last read has found all that was there.
    drained: bool,
    next_sequence: u64,
    /// Frames that are not written yet, from `written` on.
    outgoing: Vec<u8>,
    written: usize,
}

impl Connection {
    /// Takes over a connected stream.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        bound_queue(&stream)?;
        Ok(Self {
            stream: Arc::new(stream),
            decoder: FrameDecoder::new(),
            buffer: vec![0; READ_CHUNK],
            received_bytes: 0,
            drained: false,
            next_sequence: 0,
            outgoing: Vec::new(),
            written: 0,
        })
    }

    /// Queues a frame; [`Connection::flush`] writes it.
    pub fn send(&mut self, kind: FrameKind, body: &[u8]) {
        encode_frame(self.next_sequence, kind, body, &mut self.outgoing).expect("our own bodies are bounded");
        self.next_sequence += 1;
    }

    /// Writes as much as the socket takes now.
    pub fn flush(&mut self) -> Result<(), ReceiveError> {
        while self.written < self.outgoing.len() {
            match (&*self.stream).write(&self.outgoing[self.written..]) {
                Ok(0) => return Err(ReceiveError::Closed),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.written >= COMPACT {
                        self.outgoing.drain(..self.written);
                        self.written = 0;
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(ReceiveError::Closed),
            }
        }
        self.outgoing.clear();
        self.written = 0;
        Ok(())
    }

    /// Bytes that the socket has not taken yet.
    pub fn unsent(&self) -> usize {
        self.outgoing.len() - self.written
    }

    /// Whether more of a seed, or of what copies of disks hold, may be queued: only when all else has left this process, so
    /// that what is said next, such as a heartbeat, has one frame and what is in the socket ahead of it.
    pub fn takes_bulk(&self) -> bool {
        self.unsent() == 0
    }

    /// Bytes received so far, also those of a frame that is not whole: more of them are a sign of life.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Closes the connection once the other end has read what was sent, on a thread that may end late.
    ///
    /// A socket that is closed with something unread in it takes back what it has sent: the kernel answers with a reset,
    /// and the other end finds that in place of a last word. So this end says that it is done, and then reads what comes
    /// until the other end is done too, for a bounded time.
    pub fn part(self) {
        if let Err(error) = reserve::spawn("farewell", move || self.close()) {
            tracing::debug!(%error, "a connection is closed at once");
        }
    }

    /// As [`Connection::part`], for a process that ends: it waits.
    pub fn close(mut self) {
        let deadline = Instant::now() + FAREWELL;
        let mut said = false;
        while Instant::now() < deadline && self.flush().is_ok() {
            if self.unsent() == 0 && !said {
                said = true;
                let _ = self.stream.shutdown(Shutdown::Write);
            }
            match (&*self.stream).read(&mut self.buffer) {
                Ok(0) => return,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.await_socket(deadline),
                Err(error) if error.kind() != ErrorKind::Interrupted => return,
                _ => {}
            }
        }
    }

    /// The next frame that is here already.
    ///
    /// # Errors
    /// The connection is of no more use. A cut within a frame counts as [`ReceiveError::Closed`]: what came before it
    /// is a whole prefix.
    pub fn receive(&mut self) -> Result<Option<Frame>, ReceiveError> {
        loop {
            if let Some(frame) = self.decoder.next()? {
                return Ok(Some(frame));
            }
            // A read that is not filled has taken all; that there is more by now, the next poll tells.
            if std::mem::take(&mut self.drained) {
                return Ok(None);
            }
            let room = self.decoder.room().min(self.buffer.len());
            match (&*self.stream).read(&mut self.buffer[..room]) {
                Ok(0) => return Err(ReceiveError::Closed),
                Ok(count) => {
                    self.received_bytes += count as u64;
                    self.drained = count < room;
                    let taken = self.decoder.feed(&self.buffer[..count]);
                    debug_assert_eq!(taken, count, "never read more than there is room for");
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(ReceiveError::Closed),
            }
        }
    }

    /// Waits for the next frame, for handshakes.
    pub fn receive_within(&mut self, patience: Duration) -> Result<Frame, ReceiveError> {
        let deadline = Instant::now() + patience;
        loop {
            self.flush()?;
            if let Some(frame) = self.receive()? {
                return Ok(frame);
            }
            if Instant::now() >= deadline {
                return Err(ReceiveError::Timeout(patience));
            }
            self.await_socket(deadline);
        }
    }

    fn await_socket(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).expect("a short wait fits");
        let _ = poll(&mut [PollFd::new(&self.stream, self.interest())], Some(&left));
    }

    /// Its socket, for one who polls while others have the connection.
    pub fn socket(&self) -> Arc<TcpStream> {
        self.stream.clone()
    }

    /// The other end has closed it.
    pub fn is_left(&self) -> bool {
        let mut watched = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        poll(&mut watched, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// What to poll for.
    pub fn interest(&self) -> PollFlags {
        if self.unsent() > 0 { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
    }

    /// The other end's address, for messages.
    pub fn peer(&self) -> String {
        self.stream.peer_addr().map_or_else(|_| "an unknown peer".to_owned(), |address| address.to_string())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// See [`NOT_SENT`]; tcp(7) does not say it, Linux has it since 3.12.
fn bound_queue(stream: &TcpStream) -> io::Result<()> {
    // SAFETY: the kernel reads an integer of the size that it is told, from where it is.
    #[allow(unsafe_code)]
    let failed = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            std::ptr::from_ref(&NOT_SENT).cast(),
            size_of_val(&NOT_SENT) as libc::socklen_t,
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustix::io::ioctl_fionread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Connection::new(ours).unwrap(), listener.accept().unwrap().0)
    }

    #[test]
    fn frames_arrive_in_order_and_an_end_is_an_end() {
        let (mut here, there) = pair();
        let mut there = Connection::new(there).unwrap();
        there.send(FrameKind::Ack, b"one");
        there.send(FrameKind::Steps, &vec![7; 1 << 20]);
        let reader = std::thread::spawn(move || {
            let first = here.receive_within(PATIENCE).unwrap();
            let second = here.receive_within(PATIENCE).unwrap();
            (first.body, second.body.len(), here)
        });
        while there.unsent() > 0 {
            poll(&mut [PollFd::new(&there, there.interest())], None).unwrap();
            there.flush().unwrap();
        }
        there.flush().unwrap();
        let (first, second, mut here) = reader.join().unwrap();
        assert_eq!((first.as_slice(), second), (&b"one"[..], 1 << 20));
        assert!(!here.is_left());
        drop(there);
        assert!(matches!(here.receive_within(PATIENCE), Err(ReceiveError::Closed)));
        assert!(here.is_left());
    }

    #[test]
    fn a_queue_that_never_runs_dry_does_not_grow() {
        let (mut here, there) = pair();
        let mut there = Connection::new(there).unwrap();
        let (body, mut received) = (vec![7; 256 << 10], 0);
        while received < 64 << 20 {
            while there.unsent() < 1 << 20 {
                there.send(FrameKind::DiskBlock, &body);
                there.flush().unwrap();
            }
            received += here.receive_within(PATIENCE).unwrap().body.len();
            there.flush().unwrap();
        }
        assert!(there.outgoing.capacity() < 16 << 20, "{} bytes", there.outgoing.capacity());
    }

    #[test]
    fn little_of_a_seed_is_ahead_of_a_word_when_nobody_reads() {
        let (mut here, there) = pair();
        let body = vec![7; ftlog::PAGES_PER_FRAME * ftlog::PAGE_SIZE];
        let mut ahead = 0;
        while here.takes_bulk() {
            here.send(FrameKind::Pages, &body);
            here.flush().unwrap();
            ahead += body.len();
            assert!(ahead < 64 << 20, "no end of it");
        }
        // What the receiving socket has taken is on its way.
        let arrived = ioctl_fionread(&there).unwrap() as usize;
        assert!(ahead - arrived < 1 << 20, "{ahead} bytes, of which {arrived} have come");
    }

    #[test]
    fn a_cut_within_a_frame_is_an_end_and_garbage_is_damage() {
        let mut bytes = Vec::new();
        encode_frame(0, FrameKind::Ack, b"whole", &mut bytes).unwrap();
        let (mut here, mut there) = pair();
        there.write_all(&bytes[..bytes.len() - 1]).unwrap();
        drop(there);
        assert!(matches!(here.receive_within(PATIENCE), Err(ReceiveError::Closed)));

        let (mut here, mut there) = pair();
        *bytes.last_mut().unwrap() ^= 1;
        there.write_all(&bytes).unwrap();
        assert!(matches!(here.receive_within(PATIENCE), Err(ReceiveError::Damaged(_))));
    }

    #[test]
    fn a_last_word_arrives_although_nobody_read_what_came_before() {
        let (here, there) = pair();
        let mut there = Connection::new(there).unwrap();
        // More than the receiving socket takes.
        let body = vec![7; 256 << 10];
        while there.unsent() == 0 {
            there.send(FrameKind::DiskBlock, &body);
            there.flush().unwrap();
        }
        let mut here = here;
        here.send(FrameKind::Refuse, b"no room");
        here.flush().unwrap();
        here.part();
        let last = there.receive_within(PATIENCE).unwrap();
        assert_eq!((last.kind, last.body.as_slice()), (FrameKind::Refuse, &b"no room"[..]));
        assert!(matches!(there.receive_within(PATIENCE), Err(ReceiveError::Closed)));
    }

    #[test]
    fn a_part_of_a_frame_is_a_sign_of_life() {
        let mut bytes = Vec::new();
        encode_frame(0, FrameKind::Pages, &vec![7; 1 << 20], &mut bytes).unwrap();
        let (mut here, mut there) = pair();
        let mut heard = 0;
        for piece in bytes.chunks(100 << 10) {
            there.write_all(piece).unwrap();
            let _ = poll(&mut [PollFd::new(&here.stream, PollFlags::IN)], None);
            assert!(here.receive().unwrap().is_none() || here.received_bytes() == bytes.len() as u64);
            assert!(here.received_bytes() > heard);
            heard = here.received_bytes();
        }
    }

    #[test]
    fn silence_ends_a_handshake() {
        let (mut here, _there) = pair();
        let patience = Duration::from_millis(1);
        assert!(matches!(here.receive_within(patience), Err(ReceiveError::Timeout(_))));
    }
}
