//! A secondary that does not execute: it shows what protection costs the primary alone, on a machine whose cores
//! client, primary and secondary would otherwise share.
//!
//! It does all that a secondary's link thread does for the primary's sake: the handshake, taking the seed, verifying
//! and decoding each frame, one acknowledgement for each batch before the next is looked at, heartbeats. It has no
//! machine, so it says of everything received that it is executed. A VM that it protects is lost with its primary.

use std::{
    net::{TcpListener, TcpStream},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use ftlog::{
    Ack, Condition, Frame, FrameKind, Heartbeat, Hello, Manifest, Message, PageDigests, Position, Purpose,
    Welcome, decode_pages, decode_steps,
};
use ftvmm::link::{
    connection::{Connection, ReceiveError},
    handshake::{PATIENCE, software},
};
use machine::MachineState;
use rustix::event::{PollFd, Timespec, poll};

/// What the real secondary offers.
const WINDOW_BYTES: u64 = 32 << 20;
/// A quarter of the default failure timeout, as the real secondary has it.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// A peer for benchmarks: it acknowledges a primary's log and does not execute it
#[derive(Parser)]
struct Arguments {
    /// Where to wait for primaries, one after the other; port 0 picks one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    listen: String,
}

fn main() -> ExitCode {
    match Arguments::parse().serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ack-peer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    fn serve(&self) -> anyhow::Result<()> {
        let listener =
            TcpListener::bind(&self.listen).with_context(|| format!("cannot listen at {}", self.listen))?;
        println!("listening on {}", listener.local_addr()?);
        for stream in listener.incoming() {
            if let Err(error) = follow(stream?) {
                eprintln!("ack-peer: {error:#}");
            }
        }
        Ok(())
    }
}

/// Acknowledges one primary until its connection ends.
fn follow(stream: TcpStream) -> anyhow::Result<()> {
    let mut peer = AckPeer::welcome(stream)?;
    loop {
        peer.wait()?;
        loop {
            match peer.connection.receive() {
                Ok(Some(frame)) => peer.hear(&frame)?,
                Ok(None) => break,
                Err(ReceiveError::Closed) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        peer.beat()?;
    }
}

struct AckPeer {
    connection: Connection,
    /// The last position received, and so far as the primary is told executed.
    through: Position,
    time_ns: u64,
    log_bytes: u64,
    spoke: Instant,
}

impl AckPeer {
    /// The listener's half of the handshake.
    fn welcome(stream: TcpStream) -> anyhow::Result<Self> {
        let mut connection = Connection::new(stream)?;
        let first = connection.receive_within(PATIENCE)?;
        ensure!(first.kind == FrameKind::Hello, "the visitor begins with a {:?} frame", first.kind);
        let hello = Hello::decode(&first.body)?;
        ensure!(hello.purpose == Purpose::Protect, "the visitor only asks for the status; there is none");
        let welcome =
            Welcome { software: software(), window_bytes: WINDOW_BYTES, cpu_table: hello.cpu_table };
        connection.send(FrameKind::Welcome, &welcome.encode()?);
        connection.flush()?;
        Ok(Self { connection, through: Position(0), time_ns: 0, log_bytes: 0, spoke: Instant::now() })
    }

    fn wait(&self) -> anyhow::Result<()> {
        let timeout = Timespec::try_from(HEARTBEAT)?;
        match poll(&mut [PollFd::new(&self.connection, self.connection.interest())], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn hear(&mut self, frame: &Frame) -> anyhow::Result<()> {
        match frame.kind {
            FrameKind::Begin => {
                Manifest::decode(&frame.body)?;
                self.send(
                    FrameKind::PageDigests,
                    &PageDigests { last: true, boot: 0, pages: Vec::new() }.encode(),
                )?;
            }
            FrameKind::Pages | FrameKind::BootPages => drop(decode_pages(&frame.body)?),
            FrameKind::State => self.through = MachineState::decode(&frame.body)?.position(),
            FrameKind::SeedRound => self.send(FrameKind::SeedRound, &frame.body)?,
            FrameKind::Heartbeat => {}
            FrameKind::SeedDone => self.send(FrameKind::SeedHeld, &self.through.0.to_le_bytes())?,
            FrameKind::Steps => return self.acknowledge(&frame.body),
            FrameKind::Detach => bail!("the primary lets go of this peer"),
            other => bail!("a {other:?} frame after {}, which this peer cannot serve", self.through),
        }
        Ok(())
    }

    fn acknowledge(&mut self, body: &[u8]) -> anyhow::Result<()> {
        let batch = decode_steps(body)?;
        ensure!(
            batch.first == self.through.next(),
            "the log goes on at {} after {}",
            batch.first,
            self.through
        );
        self.through = Position(self.through.0 + batch.steps.len() as u64);
        self.time_ns = batch.steps.last().map_or(self.time_ns, |step| step.time_ns);
        self.log_bytes += body.len() as u64;
        self.send_ack()
    }

    fn send_ack(&mut self) -> anyhow::Result<()> {
        let ack = Ack {
            received: self.through,
            executed: self.through,
            executed_time_ns: self.time_ns,
            executed_bytes: self.log_bytes,
            condition: Condition::default(),
        };
        self.send(FrameKind::Ack, &ack.encode())
    }

    /// A sign of life when nothing else was said for a while. A heartbeat is welcome in every state.
    fn beat(&mut self) -> anyhow::Result<()> {
        if self.spoke.elapsed() < HEARTBEAT {
            return Ok(());
        }
        let beat = Heartbeat {
            position: self.through,
            released: Position(0),
            time_ns: self.time_ns,
            lease_ns: 0,
            condition: Condition::default(),
        };
        self.send(FrameKind::Heartbeat, &beat.encode())
    }

    fn send(&mut self, kind: FrameKind, body: &[u8]) -> anyhow::Result<()> {
        self.connection.send(kind, body);
        self.spoke = Instant::now();
        Ok(self.connection.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use ftlog::{ExitKind, Generation, PagesEncoder, Shape, StepEncoder, StepRef, VmId};
    use ftvmm::{
        identity::VmIdentity,
        link::handshake::{ask_for_protection, hello},
    };

    use super::*;

    fn manifest() -> Manifest {
        let identity = identity();
        Manifest {
            vm: identity.vm,
            generation: Generation(1),
            shape: identity.shape,
            cpu_table: 0,
            wall_base_ns: 0,
            digest_key: 0,
        }
    }

    fn identity() -> VmIdentity {
        let shape = Shape { memory_mib: 1, cpus: 1, ..Shape::default() };
        VmIdentity { vm: VmId([7; 16]), shape, wall_base_ns: 0 }
    }

    fn batch(first: Position, steps: u64) -> Vec<u8> {
        let mut encoder = StepEncoder::new(first);
        for n in 0..steps {
            let time_ns = first.0 + n;
            let exit = ExitKind::Halt;
            let step = StepRef { time_ns, exit, digest: 0, entries: None, events: &[], registers: None };
            encoder.push(step).unwrap();
        }
        encoder.take()
    }

    /// A primary's connection to a peer on a thread of its own, and what that thread makes of it.
    fn connect() -> (Connection, thread::JoinHandle<anyhow::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peer = thread::spawn(move || follow(listener.accept()?.0));
        let hello = hello(&identity(), Generation(1), "test", "an arbiter", Purpose::Protect);
        let (connection, welcome) = ask_for_protection(&address, &hello).unwrap();
        assert_eq!(welcome.window_bytes, WINDOW_BYTES);
        (connection, peer)
    }

    #[test]
    fn each_batch_is_acknowledged_as_received_and_executed() {
        let (mut connection, peer) = connect();
        connection.send(FrameKind::Begin, &manifest().encode().unwrap());
        connection.send(FrameKind::BootPages, &PagesEncoder::default().take());
        let holds = connection.receive_within(PATIENCE).unwrap();
        assert_eq!(holds.kind, FrameKind::PageDigests);
        connection.send(FrameKind::SeedDone, &[]);
        let held = connection.receive_within(PATIENCE).unwrap();
        assert_eq!((held.kind, held.body), (FrameKind::SeedHeld, 0u64.to_le_bytes().to_vec()));

        let bodies = [batch(Position(1), 3), batch(Position(4), 1)];
        bodies.iter().for_each(|body| connection.send(FrameKind::Steps, body));
        let (mut through, mut bytes) = (0, 0);
        for (body, steps) in bodies.iter().zip([3, 1]) {
            through += steps;
            bytes += body.len() as u64;
            let frame = connection.receive_within(PATIENCE).unwrap();
            let ack = Ack::decode(&frame.body).unwrap();
            let position = Position(through);
            let expected = Ack {
                received: position,
                executed: position,
                executed_time_ns: through,
                executed_bytes: bytes,
                condition: Condition::default(),
            };
            assert_eq!(ack, expected);
        }
        assert_eq!(connection.receive_within(PATIENCE).unwrap().kind, FrameKind::Heartbeat);
        drop(connection);
        peer.join().unwrap().unwrap();
    }

    #[test]
    fn a_hole_in_the_log_is_not_acknowledged() {
        let (mut connection, peer) = connect();
        connection.send(FrameKind::Begin, &manifest().encode().unwrap());
        connection.send(FrameKind::Steps, &batch(Position(6), 1));
        assert_eq!(connection.receive_within(PATIENCE).unwrap().kind, FrameKind::PageDigests);
        assert!(matches!(connection.receive_within(PATIENCE), Err(ReceiveError::Closed)));
        let error = peer.join().unwrap().unwrap_err().to_string();
        assert!(error.contains("goes on at"), "{error}");
    }
}
