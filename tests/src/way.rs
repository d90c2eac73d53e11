//! A slow way between two hosts: bytes in order, each some time after it was sent, no faster than the wire allows.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    ops::RangeInclusive,
    sync::mpsc::{Receiver, Sender, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use ftlog::{FrameDecoder, FrameKind};
use rustix::net::sockopt::set_socket_recv_buffer_size;

/// What is carried at once, bytes: what the wire takes in a quarter of a millisecond, within these.
const PIECE: RangeInclusive<usize> = 4 << 10..=64 << 10;

/// Listens at an address of its own for as long as the test runs, and carries what comes there to another, and back.
pub struct Way {
    address: String,
}

/// How a wire is.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    /// How long a byte takes to the other end.
    pub delay: Duration,
    /// How many of them may come in a second.
    pub bytes_per_second: u64,
}

impl Wire {
    fn piece(self) -> usize {
        let quarter_ms = usize::try_from(self.bytes_per_second / 4000).unwrap_or(usize::MAX);
        quarter_ms.clamp(*PIECE.start(), *PIECE.end())
    }
}

/// A frame that came out of a way whole.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// When its last byte had come.
    pub at: Instant,
    /// It came out at the end that the way leads to, and not at the one where it begins.
    pub there: bool,
    /// What it is.
    pub kind: FrameKind,
    /// Bytes of its body.
    pub bytes: usize,
}

impl Way {
    /// A way to `to`, both directions of which are like `wire`. It is part of the calling thread's network.
    ///
    /// # Errors
    /// There is no socket to be had.
    pub fn open(to: &str, wire: Wire) -> anyhow::Result<Self> {
        Self::lay(to, wire, None)
    }

    /// As [`Way::open`], and `ear` is told of every frame that comes out of it.
    ///
    /// # Errors
    /// There is no socket to be had.
    pub fn open_heard(to: &str, wire: Wire, ear: Sender<Heard>) -> anyhow::Result<Self> {
        Self::lay(to, wire, Some(ear))
    }

    fn lay(to: &str, wire: Wire, ear: Option<Sender<Heard>>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let to = to.to_owned();
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if let Ok(far) = TcpStream::connect(&to) {
                    carry(near, far, wire, ear.as_ref());
                }
            }
        });
        Ok(Self { address })
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

fn carry(near: TcpStream, far: TcpStream, wire: Wire, ear: Option<&Sender<Heard>>) {
    for (from, to, there) in [(&near, &far, true), (&far, &near, false)] {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
        // What the wire does not take has to wait at its beginning.
        let _ = set_socket_recv_buffer_size(&from, 16 * wire.piece());
        let _ = to.set_nodelay(true);
        // As much as is on the wire at one time, and little more.
        let on_wire = wire.delay.as_secs_f64() * wire.bytes_per_second as f64 / wire.piece() as f64;
        let (sender, receiver) = sync_channel((on_wire as usize + 4).min(1 << 16));
        let ear = ear.map(|ear| Ear { decoder: FrameDecoder::new(), there, told: ear.clone() });
        thread::spawn(move || take(from, &sender, wire));
        thread::spawn(move || give(to, &receiver, ear));
    }
}

fn take(mut from: TcpStream, sender: &SyncSender<(Instant, Vec<u8>)>, wire: Wire) {
    let mut free_at = Instant::now();
    let mut piece = vec![0; wire.piece()];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        let takes = Duration::from_secs_f64(count as f64 / wire.bytes_per_second as f64);
        free_at = free_at.max(Instant::now()) + takes;
        if sender.send((free_at + wire.delay, piece[..count].to_vec())).is_err() {
            return;
        }
    }
}

fn give(mut to: TcpStream, receiver: &Receiver<(Instant, Vec<u8>)>, mut ear: Option<Ear>) {
    while let Ok((due, piece)) = receiver.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            return;
        }
        if let Some(ear) = &mut ear {
            ear.hear(&piece);
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Takes what comes out of one direction of one connection apart.
struct Ear {
    decoder: FrameDecoder,
    there: bool,
    told: Sender<Heard>,
}

impl Ear {
    /// What is no stream of frames is carried and not told.
    fn hear(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.decoder.feed(bytes);
            bytes = &bytes[taken..];
            while let Ok(Some(frame)) = self.decoder.next() {
                let (at, there, kind, bytes) = (Instant::now(), self.there, frame.kind, frame.body.len());
                // Nobody may listen any more.
                let _ = self.told.send(Heard { at, there, kind, bytes });
            }
            if taken == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use ftlog::encode_frame;

    use super::*;

    #[test]
    fn what_comes_out_is_heard_whole_and_in_order_and_not_before_its_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wire = Wire { delay: Duration::from_millis(5), bytes_per_second: 100 << 20 };
        let (ear, heard) = channel();
        let to = listener.local_addr().unwrap().to_string();
        let way = Way::open_heard(&to, wire, ear).unwrap();
        let mut bytes = Vec::new();
        encode_frame(0, FrameKind::Pages, &vec![7; 1 << 20], &mut bytes).unwrap();
        encode_frame(1, FrameKind::Heartbeat, b"beat", &mut bytes).unwrap();
        let begun = Instant::now();
        let mut near = TcpStream::connect(way.address()).unwrap();
        near.write_all(&bytes).unwrap();
        drop(near);
        let mut arrived = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut arrived).unwrap();
        assert_eq!(arrived, bytes);
        let patience = Duration::from_secs(10);
        let [first, second] = [(); 2].map(|()| heard.recv_timeout(patience).unwrap());
        assert_eq!((first.kind, first.bytes, first.there), (FrameKind::Pages, 1 << 20, true));
        assert_eq!((second.kind, second.bytes, second.there), (FrameKind::Heartbeat, 4, true));
        assert!(first.at - begun >= Duration::from_millis(15), "{:?}", first.at - begun);
    }
}
