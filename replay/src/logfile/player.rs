//! Reading the file and running it again.

use std::{
    fs::File,
    io::BufReader,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use devices::Output;
use ftlog::{ArrivingDelta, End, Frame, FrameKind, FrameReader, HEADER_LEN, Message, Position, decode_steps};
use machine::{Machine, kvm::Host, snapshot::Seed};
use protocol::sabotage::{Check, disabled};

use crate::{StopSwitch, replayed};

/// What a replay that went well amounted to.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Sync points replayed.
    pub sync_points: u64,
    /// Events applied.
    pub events: u64,
    /// Virtual time from the log's first state to its last, ns.
    pub guest_ns: u64,
    /// Bytes of the log's frames, the initial state apart.
    pub log_bytes: u64,
    /// Bytes of the initial state.
    pub state_bytes: u64,
    /// Time the replay took.
    pub elapsed: Duration,
    /// The last position and the digests of all state there.
    pub end: End,
}

/// A log file and the machine that runs it.
pub struct Player {
    reader: FrameReader<BufReader<File>>,
    machine: Machine,
    arriving: ArrivingDelta,
    stop: StopSwitch,
    start_ns: u64,
    state_bytes: u64,
    log_bytes: u64,
    events: u64,
    sync_points: u64,
}

impl Player {
    /// Opens the file and makes the machine it begins with.
    pub fn open(path: &Path, host: &Host) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open the log {}", path.display()))?;
        let mut reader = FrameReader::new(BufReader::with_capacity(1 << 20, file));
        let damaged = "the log's initial state is damaged";
        let first = reader.read().context(damaged)?.context("the log is empty")?;
        let mut state_bytes = size_of_frame(&first);
        let mut seed = Seed::begin(&first).with_context(|| place(&first))?;
        loop {
            let frame = reader.read().context(damaged)?;
            let frame = frame.context("the log ends within its initial state")?;
            state_bytes += size_of_frame(&frame);
            if seed.add(&frame).with_context(|| place(&frame))? {
                break;
            }
        }
        let machine = seed.finish(host).context("the log's initial state is not that of a machine")?;
        let start_ns = machine.time_ns();
        let arriving = ArrivingDelta::new(ArrivingDelta::most_bytes(machine.memory().mib()));
        Ok(Self {
            reader,
            machine,
            arriving,
            stop: StopSwitch::default(),
            start_ns,
            state_bytes,
            log_bytes: 0,
            events: 0,
            sync_points: 0,
        })
    }

    /// Replays to the end, verifying every sync point and the final state. `progress` gets the bytes read so far;
    /// the guest's console output goes to `console`.
    pub fn play(
        mut self,
        progress: &mut dyn FnMut(u64),
        console: &mut dyn FnMut(&[u8]),
    ) -> anyhow::Result<Summary> {
        let started = Instant::now();
        let end = loop {
            let last = self.machine.position();
            let frame = self.reader.read().with_context(|| format!("the log is damaged after {last}"))?;
            let Some(frame) = frame else {
                bail!("the log ends at {last} without its closing record: the recording was cut off")
            };
            self.log_bytes += size_of_frame(&frame);
            match frame.kind {
                FrameKind::Pages => {
                    self.arriving.add_pages(frame.body).with_context(|| format!("after {last}"))?
                }
                FrameKind::Delta => self.arriving.complete(&frame.body).with_context(|| place(&frame))?,
                FrameKind::Steps => self.play_batch(&frame, console)?,
                FrameKind::End => break End::decode(&frame.body).with_context(|| place(&frame))?,
                kind => bail!("after {last} the log has a {kind:?} frame, which belongs on the wire only"),
            }
            progress(self.reader.bytes());
        };
        let after_end = self.reader.read().context("there is something after the log's closing record")?;
        if let Some(frame) = after_end {
            bail!("{}: the log goes on after its closing record", place(&frame));
        }
        self.check_end(&end)?;
        Ok(Summary {
            sync_points: self.sync_points,
            events: self.events,
            guest_ns: end.time_ns - self.start_ns,
            log_bytes: self.log_bytes,
            state_bytes: self.state_bytes,
            elapsed: started.elapsed(),
            end,
        })
    }

    fn play_batch(&mut self, frame: &Frame, console: &mut dyn FnMut(&[u8])) -> anyhow::Result<()> {
        let batch = decode_steps(&frame.body).with_context(|| place(frame))?;
        let mut delta = self.arriving.take_for(&batch).with_context(|| place(frame))?;
        let mut outputs = Vec::new();
        let mut position = batch.first;
        for step in batch.steps {
            let delta = delta.take();
            replayed::step(&mut self.machine, position, &step, delta.as_ref(), &mut outputs, &self.stop)?;
            position = position.next();
            self.events += step.events.len() as u64;
            self.sync_points += 1;
            for output in outputs.drain(..) {
                if let Output::Console(bytes) = output {
                    console(&bytes);
                }
            }
        }
        Ok(())
    }

    fn check_end(&mut self, end: &End) -> anyhow::Result<()> {
        let (position, time_ns) = (self.machine.position(), self.machine.time_ns());
        ensure!(
            end.position == position,
            "the log closes at {}, but its steps end at {position}",
            end.position
        );
        ensure!(
            end.time_ns == time_ns,
            "the log closes at {position} and {} ns, but its steps end at {time_ns} ns",
            end.time_ns
        );
        let ours = self.machine.digests()?;
        if disabled(Check::Digest) {
            return Ok(());
        }
        differs(position, "guest memory", end.digests.memory, ours.memory)?;
        differs(position, "vCPU state", end.digests.vcpu.into(), ours.vcpu.into())?;
        differs(position, "device state", end.digests.platform.into(), ours.platform.into())?;
        differs(position, "execution", end.digests.running.into(), ours.running.into())
    }
}

/// Where in the file the trouble is, when it is in what a whole frame says.
fn place(frame: &Frame) -> String {
    format!("the log's frame {} at byte {}", frame.sequence, frame.offset)
}

fn size_of_frame(frame: &Frame) -> u64 {
    (HEADER_LEN + frame.body.len()) as u64
}

fn differs(position: Position, what: &str, recorded: u128, replayed: u128) -> anyhow::Result<()> {
    ensure!(
        recorded == replayed,
        "divergence at the end, {position}: the digest of the {what} is {replayed:x}, recorded was {recorded:x}"
    );
    Ok(())
}
