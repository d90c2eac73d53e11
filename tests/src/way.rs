//! A slow way between two hosts: bytes in order, each some time after it was sent, no faster than the wire allows.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use rustix::net::sockopt::set_socket_recv_buffer_size;

/// What is carried at once, bytes: small against what a wire carries in a round trip.
const PIECE: usize = 4096;

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

impl Way {
    /// A way to `to`, both directions of which are like `wire`. It is part of the calling thread's network.
    ///
    /// # Errors
    /// There is no socket to be had.
    pub fn open(to: &str, wire: Wire) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let to = to.to_owned();
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if let Ok(far) = TcpStream::connect(&to) {
                    carry(near, far, wire);
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

fn carry(near: TcpStream, far: TcpStream, wire: Wire) {
    for (from, to) in [(&near, &far), (&far, &near)] {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
        // What the wire does not take has to wait at its beginning.
        let _ = set_socket_recv_buffer_size(&from, 16 * PIECE);
        let _ = to.set_nodelay(true);
        // As much as is on the wire at one time, and little more.
        let on_wire = wire.delay.as_secs_f64() * wire.bytes_per_second as f64 / PIECE as f64;
        let (sender, receiver) = sync_channel((on_wire as usize + 4).min(1 << 16));
        thread::spawn(move || take(from, &sender, wire));
        thread::spawn(move || give(to, &receiver));
    }
}

fn take(mut from: TcpStream, sender: &SyncSender<(Instant, Vec<u8>)>, wire: Wire) {
    let mut free_at = Instant::now();
    let mut piece = [0; PIECE];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        let takes = Duration::from_secs_f64(count as f64 / wire.bytes_per_second as f64);
        free_at = free_at.max(Instant::now()) + takes;
        if sender.send((free_at + wire.delay, piece[..count].to_vec())).is_err() {
            return;
        }
    }
}

fn give(mut to: TcpStream, receiver: &Receiver<(Instant, Vec<u8>)>) {
    while let Ok((due, piece)) = receiver.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
