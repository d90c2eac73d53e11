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
        Self::lay(to, wire, None, None)
    }

    /// As [`Way::open`], and `ear` is told of every frame that comes out of it.
    ///
    /// # Errors
    /// There is no socket to be had.
    pub fn open_heard(to: &str, wire: Wire, ear: Sender<Heard>) -> anyhow::Result<Self> {
        Self::lay(to, wire, Some(ear), None)
    }

    /// As [`Way::open`], but the first frame of this kind, and what comes after it, stays on the wire for as long as
    /// somebody is where it begins.
    ///
    /// # Errors
    /// There is no socket to be had.
    pub fn open_until(to: &str, wire: Wire, kind: FrameKind) -> anyhow::Result<Self> {
        Self::lay(to, wire, None, Some(Stop { kind, is_lost: false }))
    }

    /// As [`Way::open_until`], but what stays on the wire is lost.
    ///
    /// # Errors
    /// There is no socket to be had.
    pub fn open_up_to(to: &str, wire: Wire, kind: FrameKind) -> anyhow::Result<Self> {
        Self::lay(to, wire, None, Some(Stop { kind, is_lost: true }))
    }

    fn lay(to: &str, wire: Wire, ear: Option<Sender<Heard>>, stop: Option<Stop>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let to = to.to_owned();
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if let Ok(far) = TcpStream::connect(&to) {
                    carry(near, far, wire, ear.as_ref(), stop);
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

/// The first frame of this kind, and what comes after it, stays on the wire for as long as somebody is where it begins.
#[derive(Clone, Copy)]
struct Stop {
    kind: FrameKind,
    is_lost: bool,
}

fn carry(near: TcpStream, far: TcpStream, wire: Wire, ear: Option<&Sender<Heard>>, stop: Option<Stop>) {
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
        let brake = stop.filter(|_| there).map(|stop| Brake { decoder: FrameDecoder::new(), stop });
        thread::spawn(move || give(to, &receiver, ear, brake));
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

fn give(
    mut to: TcpStream,
    receiver: &Receiver<(Instant, Vec<u8>)>,
    mut ear: Option<Ear>,
    mut brake: Option<Brake>,
) {
    while let Ok((due, mut piece)) = receiver.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if let Some(Brake { stop, .. }) = brake.take_if(|brake| brake.stops(&piece)) {
            let rest: Vec<u8> = receiver.iter().flat_map(|(_, piece)| piece).collect();
            if stop.is_lost {
                break;
            }
            piece.extend(rest);
        }
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
    fn hear(&mut self, bytes: &[u8]) {
        let (there, told) = (self.there, &self.told);
        each_frame(&mut self.decoder, bytes, |kind, bytes| {
            // Nobody may listen any more.
            let _ = told.send(Heard { at: Instant::now(), there, kind, bytes });
        });
    }
}

/// Looks for the frame that is to stay on the wire.
struct Brake {
    decoder: FrameDecoder,
    stop: Stop,
}

impl Brake {
    /// Such a frame ends in these bytes.
    fn stops(&mut self, bytes: &[u8]) -> bool {
        let mut found = false;
        each_frame(&mut self.decoder, bytes, |kind, _| found |= kind == self.stop.kind);
        found
    }
}

/// What is no stream of frames has none.
fn each_frame(decoder: &mut FrameDecoder, mut bytes: &[u8], mut tell: impl FnMut(FrameKind, usize)) {
    while !bytes.is_empty() {
        let taken = decoder.feed(bytes);
        bytes = &bytes[taken..];
        while let Ok(Some(frame)) = decoder.next() {
            tell(frame.kind, frame.body.len());
        }
        if taken == 0 {
            return;
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

    #[test]
    fn what_is_to_stay_comes_out_when_nobody_sends_any_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wire = Wire { delay: Duration::ZERO, bytes_per_second: 100 << 20 };
        let way =
            Way::open_until(&listener.local_addr().unwrap().to_string(), wire, FrameKind::SeedDone).unwrap();
        let mut frames = Vec::new();
        for (number, kind) in
            [FrameKind::Pages, FrameKind::SeedDone, FrameKind::Heartbeat].into_iter().enumerate()
        {
            let mut frame = Vec::new();
            encode_frame(number as u64, kind, b"body", &mut frame).unwrap();
            frames.push(frame);
        }
        let mut near = TcpStream::connect(way.address()).unwrap();
        near.write_all(&frames[0]).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let mut arrived = vec![0; frames[0].len()];
        far.read_exact(&mut arrived).unwrap();
        near.write_all(&frames[1..].concat()).unwrap();
        far.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(far.read(&mut [0]).is_err(), "it came out");
        far.set_read_timeout(None).unwrap();
        drop(near);
        far.read_to_end(&mut arrived).unwrap();
        assert_eq!(arrived, frames.concat());
    }
}
