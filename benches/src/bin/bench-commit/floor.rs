//! The floor: the round trip of two processes that block on a connection over loopback, and do nothing else.

use std::{
    env,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command},
    time::Instant,
};

use anyhow::{Context, ensure};
use ftlog::{Ack, HEADER_LEN};
use ftvmm_benches::spread::Spread;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Round trips, after as many again to warm up.
const TRIPS: usize = 5_000;
/// Bytes one way: a frame of the steps between two answers to one client.
const THERE: usize = 512;
/// And back: an acknowledgement's.
const BACK: usize = HEADER_LEN + Ack::LEN;

/// Starts the other process and goes to and fro.
pub fn measure() -> anyhow::Result<Spread> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut command = Command::new(env::current_exe()?);
    let mut child = command.arg("--echo").arg(listener.local_addr()?.to_string()).spawn()?;
    let trips = round_trips(&listener);
    let ended = end(&mut child);
    let trips = trips?;
    ended?;
    Ok(trips)
}

fn end(child: &mut Child) -> anyhow::Result<()> {
    // Its connection is closed, so it ends by itself.
    let status = child.wait().context("cannot wait for the other process")?;
    ensure!(status.success(), "the other process ended with {status}");
    Ok(())
}

fn round_trips(listener: &TcpListener) -> anyhow::Result<Spread> {
    let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
    let came = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&patience))?;
    ensure!(came == 1, "the other process does not come");
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let (there, mut back) = ([7; THERE], [0; BACK]);
    let mut trips = Vec::with_capacity(2 * TRIPS);
    for _ in 0..2 * TRIPS {
        let began = Instant::now();
        stream.write_all(&there)?;
        stream.read_exact(&mut back)?;
        trips.push(began.elapsed().as_nanos() as u64);
    }
    Ok(Spread::of(trips.drain(TRIPS..)))
}

/// The other process: answers until the connection ends.
pub fn echo(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let (mut there, back) = ([0; THERE], [9; BACK]);
    while stream.read_exact(&mut there).is_ok() {
        stream.write_all(&back)?;
    }
    Ok(())
}
