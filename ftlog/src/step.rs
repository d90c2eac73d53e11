//! One sync point as the log records it.

mod decode;
mod encode;
mod wire;

pub use decode::{DecodeError, StepProblem, StepsFrame, decode_steps};
pub use encode::{EncodeError, StepEncoder};

use crate::event::Event;

/// How many registers a step can carry.
pub const REGISTER_COUNT: usize = 18;

/// The registers of a step, in the order in which they are stored.
pub const REGISTER_NAMES: [&str; REGISTER_COUNT] = [
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15", "rip", "rflags",
];

/// The kinds of VM exit that are sync points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitKind {
    /// Port I/O, the kernel-entry clock's port included.
    Pio = 1,
    /// An access to a device's memory.
    Mmio = 2,
    /// HLT.
    Halt = 3,
    /// A filtered model-specific register.
    Msr = 4,
    /// None: the guest was stopped where it was, which no execution finds again. A [`crate::Delta`] leads there, and such a
    /// step is the first in its frame.
    Forced = 5,
}

/// A byte that names no [`ExitKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown exit kind {0}")]
pub struct UnknownExitKind(pub u8);

impl TryFrom<u8> for ExitKind {
    type Error = UnknownExitKind;

    fn try_from(value: u8) -> Result<Self, UnknownExitKind> {
        match value {
            1 => Ok(Self::Pio),
            2 => Ok(Self::Mmio),
            3 => Ok(Self::Halt),
            4 => Ok(Self::Msr),
            5 => Ok(Self::Forced),
            other => Err(UnknownExitKind(other)),
        }
    }
}

/// A sync point: how the stretch before it ended, and what was applied to the guest there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Virtual time at the sync point, in ns since the guest's power-on.
    pub time_ns: u64,
    /// The kind of exit that ended the stretch.
    pub exit: ExitKind,
    /// Digest of the execution up to and including this exit; the replayer compares it with its own.
    pub digest: u32,
    /// The guest's count of kernel entries, when the exit was the kernel-entry clock's (a kind of [`ExitKind::Pio`]).
    /// The replayer has to announce it to the guest before it runs the stretch.
    pub entries: Option<u64>,
    /// What arrived from outside, in the order in which it was applied.
    pub events: Vec<Event>,
    /// The registers at the exit, in the order of [`REGISTER_NAMES`]; recorded now and then, to locate a divergence.
    pub registers: Option<Box<[u64; REGISTER_COUNT]>>,
}

impl Step {
    /// The same step, borrowed, as the encoder takes it.
    #[must_use]
    pub fn as_ref(&self) -> StepRef<'_> {
        StepRef {
            time_ns: self.time_ns,
            exit: self.exit,
            digest: self.digest,
            entries: self.entries,
            events: &self.events,
            registers: self.registers.as_deref(),
        }
    }
}

/// A [`Step`] whose parts belong to the recorder, so that logging it allocates nothing.
#[derive(Debug, Clone, Copy)]
pub struct StepRef<'a> {
    /// See [`Step::time_ns`].
    pub time_ns: u64,
    /// See [`Step::exit`].
    pub exit: ExitKind,
    /// See [`Step::digest`].
    pub digest: u32,
    /// See [`Step::entries`].
    pub entries: Option<u64>,
    /// See [`Step::events`].
    pub events: &'a [Event],
    /// See [`Step::registers`].
    pub registers: Option<&'a [u64; REGISTER_COUNT]>,
}
