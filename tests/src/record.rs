//! Recordings: making them, taking their logs apart, putting logs together, and replaying them.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, ensure};
use ftlog::{
    End, Frame, FrameKind, FrameReader, FrameWriter, HEADER_LEN, Message, StateDigests, StepEncoder,
    StepsFrame, decode_steps,
};
use ftvmm::demo::process::Process;
use serde_json::Value;

use crate::harness;

/// Far longer than any program here runs.
const LONG: Duration = Duration::from_secs(120);

/// A log as its frames. Sequence numbers and checksums are made when it is written, so that what was changed in
/// between can be found by its contents only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Kind and body of each frame.
    pub frames: Vec<(FrameKind, Vec<u8>)>,
}

impl Log {
    /// Reads a whole file.
    ///
    /// # Errors
    /// When it cannot be read or its frames are damaged.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut reader = FrameReader::new(bytes.as_slice());
        let mut frames = Vec::new();
        while let Some(Frame { kind, body, .. }) = reader.read()? {
            frames.push((kind, body));
        }
        Ok(Self { frames })
    }

    /// The file.
    ///
    /// # Panics
    /// When a body is longer than a frame may hold.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut writer = FrameWriter::new(Vec::new());
        for (kind, body) in &self.frames {
            writer.write(*kind, body).expect("it came from a frame");
        }
        writer.into_inner()
    }

    /// Where each frame begins in the file, and where the last one ends.
    #[must_use]
    pub fn bounds(&self) -> Vec<usize> {
        let mut bounds = vec![0];
        for (_, body) in &self.frames {
            bounds.push(bounds[bounds.len() - 1] + HEADER_LEN + body.len());
        }
        bounds
    }

    /// The indices of the frames of a kind.
    #[must_use]
    pub fn of_kind(&self, kind: FrameKind) -> Vec<usize> {
        (0..self.frames.len()).filter(|index| self.frames[*index].0 == kind).collect()
    }

    /// The body of a frame, as a message.
    ///
    /// # Panics
    /// When it is none of that kind.
    #[must_use]
    pub fn message<M: Message>(&self, index: usize) -> M {
        M::decode(&self.frames[index].1).expect("the frame holds such a message")
    }

    /// The record that closes the log.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn end(&self) -> End {
        self.message(self.frames.len() - 1)
    }

    /// The steps in a frame.
    ///
    /// # Panics
    /// When it is no frame of steps.
    #[must_use]
    pub fn steps(&self, index: usize) -> StepsFrame {
        decode_steps(&self.frames[index].1).expect("the frame holds steps")
    }

    /// All steps of the log, in order.
    #[must_use]
    pub fn all_steps(&self) -> Vec<ftlog::Step> {
        self.of_kind(FrameKind::Steps).into_iter().flat_map(|index| self.steps(index).steps).collect()
    }

    /// The same log with another message in a frame.
    ///
    /// # Panics
    /// When the message is longer than it may be.
    #[must_use]
    pub fn with_message<M: Message>(&self, index: usize, message: &M) -> Self {
        let mut log = self.clone();
        log.frames[index].1 = message.encode().expect("the message keeps its bounds");
        log
    }

    /// The same log with other steps in a frame.
    ///
    /// # Panics
    /// When a step has more events than it may.
    #[must_use]
    pub fn with_steps(&self, index: usize, steps: &StepsFrame) -> Self {
        let mut encoder = StepEncoder::new(steps.first);
        for step in &steps.steps {
            encoder.push(step.as_ref()).expect("the step keeps its bounds");
        }
        let mut log = self.clone();
        log.frames[index].1 = encoder.take();
        log
    }
}

/// Starts `ftvmm record` of a guest with 4 MiB of memory or what `options` say, and its console in a file.
///
/// # Errors
/// When it cannot be started.
pub fn start<S: AsRef<OsStr>>(
    directory: &Path,
    name: &str,
    options: &[S],
) -> anyhow::Result<(Process, PathBuf)> {
    let log = directory.join(format!("{name}.ftlog"));
    let mut command = Command::new(harness::program()?);
    command.arg("record").arg("--force").arg("--log").arg(&log).args(options);
    Ok((Process::start(command, &format!("record-{name}"), directory, None)?, log))
}

/// Waits until a recording has ended by itself and well.
///
/// # Errors
/// When it has not.
pub fn finish(mut recording: Process) -> anyhow::Result<()> {
    let status = recording.wait_end(LONG)?;
    ensure!(status.success(), "{}: {status}: {}", recording.name(), recording.log());
    Ok(())
}

/// How `ftvmm replay` went: its status, and what it wrote to standard output and standard error.
pub struct Replayed {
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

/// Runs `ftvmm replay --json` on a log.
///
/// # Errors
/// When it cannot be started or does not end.
pub fn replay(log: &Path) -> anyhow::Result<Replayed> {
    let directory = log.parent().context("a log is in a directory")?;
    let mut command = Command::new(harness::program()?);
    command.args(["replay", "--json", "--log"]).arg(log);
    let mut process = Process::start(command, "replay", directory, None)?;
    let status = process.wait_end(LONG)?;
    Ok(Replayed { status, output: process.output(), errors: process.log() })
}

impl Replayed {
    /// The digests of a replay that went well.
    ///
    /// # Errors
    /// When it did not, with what it said.
    pub fn digests(&self) -> anyhow::Result<StateDigests> {
        ensure!(self.status.success(), "replay: {}: {}", self.status, self.errors);
        let summary: Value = serde_json::from_str(&self.output).context("replay --json prints one object")?;
        Ok(StateDigests {
            memory: hexadecimal(&summary, "memory_digest")?,
            vcpu: hexadecimal(&summary, "vcpu_digest")? as u64,
            platform: hexadecimal(&summary, "platform_digest")? as u64,
            running: hexadecimal(&summary, "running_digest")? as u64,
        })
    }
}

fn hexadecimal(summary: &Value, key: &str) -> anyhow::Result<u128> {
    let text = summary[key].as_str().with_context(|| format!("replay --json has no {key}: {summary}"))?;
    u128::from_str_radix(text, 16).with_context(|| format!("{key} is {text}"))
}
