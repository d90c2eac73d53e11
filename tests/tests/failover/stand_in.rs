//! A primary that this test is: it has a VM and a generation, and says to a real secondary what it likes.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use devices::{OnPanic, PlatformConfig};
use ftlog::{
    Ack, Frame, FrameKind, Generation, Heartbeat, Hello, Manifest, Message, Position, Purpose, Refuse, Shape,
    StepEncoder, StepRef, VmId,
};
use ftvmm::{
    arbiter::{Claim, FileArbiter, Holder},
    demo::wait,
    identity::VmIdentity,
    link::{
        connection::Connection,
        handshake::{ask_for_protection, hello},
    },
};
use ftvmm_tests::harness;
use machine::{EntryClock, Machine, boot::Image, kvm::Host, snapshot};
use protocol::arbiter::ClaimOutcome;

use super::SOON;

/// The VM's name.
pub const NAME: &str = "stand-in";
const MEMORY_MIB: u32 = 16;

/// The primary of a secondary.
pub struct StandIn {
    pub connection: Connection,
    pub machine: Machine,
    manifest: Manifest,
    address: String,
    hello: Hello,
    said: Instant,
}

impl StandIn {
    /// The first generation of a VM with this kernel, let in by the secondary at `address`.
    pub fn greet(arbiter: &Path, address: &str, kernel: &str, cmdline: &str) -> anyhow::Result<Self> {
        let host = Host::open()?;
        let cpu = host.richest_cpu()?;
        let devices =
            PlatformConfig { net: None, disks: Vec::new(), wall_base_ns: 0, on_panic: OnPanic::Halt };
        let image = Image::open(kernel, None)?;
        let machine = Machine::boot(&host, cpu, MEMORY_MIB, &devices, &image, cmdline)?;
        let (name, kernel, cmdline) = (NAME.to_owned(), kernel.to_owned(), cmdline.to_owned());
        let shape = Shape {
            name,
            cpu: cpu.name.into(),
            memory_mib: MEMORY_MIB,
            cpus: 1,
            kernel,
            cmdline,
            ..Shape::default()
        };
        let (vm, generation) = (VmId([7; 16]), Generation(1));
        let arbiter = FileArbiter::open(&format!("file:{}", arbiter.display()))?;
        let holder = Holder::this_process()?;
        let claim = Claim { name: NAME, vm, generation, after: None, holder: &holder, yields: false };
        anyhow::ensure!(arbiter.claim(&claim) == ClaimOutcome::Won);
        let identity = VmIdentity { vm, shape: shape.clone(), wall_base_ns: 0 };
        let hello = hello(&identity, generation, &holder.to_string(), arbiter.identity(), Purpose::Protect);
        let (connection, _) = ask_for_protection(address, &hello)?;
        let cpu_table = cpu.digest();
        let manifest = Manifest { vm, generation, shape, cpu_table, wall_base_ns: 0, digest_key: 0 };
        Ok(Self { connection, machine, manifest, address: address.to_owned(), hello, said: Instant::now() })
    }

    /// Waits until the secondary would let this primary in anew.
    pub fn await_free(&mut self) -> anyhow::Result<()> {
        self.connection.flush()?;
        anyhow::ensure!(self.connection.unsent() == 0, "the secondary does not read");
        let hello = Hello { purpose: Purpose::Probe, ..self.hello.clone() };
        wait::until("a secondary that is free", 4 * SOON, || {
            Ok(ask_for_protection(&self.address, &hello).ok().map(drop))
        })
    }

    /// The frames of the seed, but for its end.
    pub fn seed(&mut self) -> anyhow::Result<Vec<(FrameKind, Vec<u8>)>> {
        let mut frames = Vec::new();
        snapshot::write(&mut self.machine, &self.manifest, |kind, body| {
            frames.push((kind, body.to_vec()));
            anyhow::Ok(())
        })?;
        Ok(frames)
    }

    /// The secondary holds the VM as it stands.
    pub fn seed_whole(&mut self) -> anyhow::Result<()> {
        for (kind, body) in self.seed()? {
            self.connection.send(kind, &body);
        }
        self.connection.send(FrameKind::SeedDone, &[]);
        self.await_frame("the seed to be held", |frame| frame.kind == FrameKind::SeedHeld).map(drop)
    }

    /// Runs to the next sync point; the step of it, for the log.
    pub fn record(&mut self) -> anyhow::Result<Vec<u8>> {
        let reached = harness::reach(&mut self.machine, EntryClock::Live)?;
        let time_ns = self.machine.time_ns() + 20_000;
        self.machine.finish_sync_point(&reached, time_ns, &[], &mut Vec::new());
        let digest = reached.digest.short();
        let step = StepRef {
            time_ns,
            exit: reached.kind,
            digest,
            entries: reached.entries,
            events: &[],
            registers: None,
        };
        let mut batch = StepEncoder::new(self.machine.position());
        batch.push(step)?;
        Ok(batch.body().to_vec())
    }

    /// Says that this side is there, and takes in what the secondary says.
    pub fn keep_up(&mut self) -> anyhow::Result<()> {
        if self.said.elapsed() > Duration::from_millis(50) {
            self.said = Instant::now();
            self.heartbeat(Position(0));
        }
        self.connection.flush()?;
        while self.connection.receive()?.is_some() {}
        Ok(())
    }

    /// What this side lets out, and how it is.
    pub fn heartbeat(&mut self, released: Position) {
        let beat = Heartbeat {
            position: self.machine.position(),
            released,
            time_ns: 0,
            lease_ns: 0,
            condition: ftlog::Condition::default(),
        };
        self.connection.send(FrameKind::Heartbeat, &beat.encode());
    }

    /// Waits until the secondary has executed all that this VM has.
    pub fn await_executed(&mut self) -> anyhow::Result<()> {
        let through = self.machine.position();
        let executed = |frame: &Frame| {
            frame.kind == FrameKind::Ack && Ack::decode(&frame.body).is_ok_and(|ack| ack.executed == through)
        };
        self.await_frame("all to be executed", executed).map(drop)
    }

    /// Waits for a frame, saying all the while that this side is there.
    pub fn await_frame(&mut self, what: &str, wanted: impl Fn(&Frame) -> bool) -> anyhow::Result<Frame> {
        let until = Instant::now() + SOON;
        while Instant::now() < until {
            match self.connection.receive_within(Duration::from_millis(50)) {
                Ok(frame) if wanted(&frame) => return Ok(frame),
                Ok(frame) if frame.kind == FrameKind::Refuse => {
                    bail!("refused: {}", Refuse::decode(&frame.body)?.reason)
                }
                Ok(_) | Err(ftvmm::link::connection::ReceiveError::Timeout(_)) => {}
                Err(error) => return Err(error).with_context(|| format!("waiting for {what}")),
            }
            self.heartbeat(Position(0));
        }
        bail!("waited in vain for {what}")
    }
}
