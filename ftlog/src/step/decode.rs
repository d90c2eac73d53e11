//! From the body of a `Steps` frame to steps.

use thiserror::Error;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::wire::{
    EVENT_CONSOLE_INPUT, EVENT_NET_FRAME, EventHeader, FLAG_REGISTERS, PREFIX_LEN, Prefix, REGISTER_MASK,
    STEP_HEADER_LEN, StepHeader,
};
use super::{ExitKind, REGISTER_COUNT, REGISTER_NAMES, Step, UnknownExitKind};
use crate::event::{Event, MAX_EVENTS_PER_STEP};
use crate::position::Position;

/// The contents of a `Steps` frame: at least one step, at consecutive positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepsFrame {
    /// The position of the first step.
    pub first: Position,
    /// The steps.
    pub steps: Vec<Step>,
}

/// Why a body is not that of a `Steps` frame. Offsets are in bytes from the start of the body.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Too short for the position and count at its start.
    #[error("steps body of {len} bytes, at least {PREFIX_LEN} expected")]
    NoPrefix {
        /// The body's length.
        len: usize,
    },
    /// A frame of no steps.
    #[error("steps body at {first}: it says that it holds no steps")]
    NoSteps {
        /// The position it gives.
        first: Position,
    },
    /// Positions beyond the end of the count.
    #[error("steps body at {first}: {count} steps overflow the position")]
    PositionOverflow {
        /// The position it gives.
        first: Position,
        /// The number of steps it gives.
        count: u32,
    },
    /// A step that is not well formed.
    #[error("step {position}, body offset {offset}: {problem}")]
    Step {
        /// The step.
        position: Position,
        /// Where the part that is wrong starts.
        offset: usize,
        /// What is wrong.
        problem: StepProblem,
    },
    /// Bytes after the last step.
    #[error("body offset {offset}: {extra} bytes after the last step {last}")]
    Trailing {
        /// The last step.
        last: Position,
        /// Where it ends.
        offset: usize,
        /// The bytes behind it.
        extra: usize,
    },
}

/// What is wrong with a step.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StepProblem {
    /// The body ends too early.
    #[error("{needed} bytes expected, {left} left")]
    Truncated {
        /// Bytes that should be there.
        needed: usize,
        /// Bytes that are.
        left: usize,
    },
    /// The exit kind.
    #[error(transparent)]
    Exit(#[from] UnknownExitKind),
    /// Flags this version does not have.
    #[error("unknown flags in {0:#04x}")]
    Flags(u8),
    /// More than [`MAX_EVENTS_PER_STEP`] events.
    #[error("{0} events, at most {MAX_EVENTS_PER_STEP} expected")]
    TooManyEvents(u16),
    /// The kind of an event.
    #[error("unknown event kind {0}")]
    EventKind(u8),
    /// Console input for another slot than 0.
    #[error("console input names slot {0}, 0 expected")]
    ConsoleSlot(u8),
    /// Registers this version does not have.
    #[error("unknown registers in mask {0:#010x}")]
    RegisterMask(u32),
    /// A register that is listed as changed and is not.
    #[error("{0} is listed as changed but keeps its value")]
    UnchangedRegister(&'static str),
}

/// Decodes the body of a `Steps` frame. Memory is bounded by a small multiple of the body's length.
///
/// # Errors
/// [`DecodeError`], with the position and the offset where the trouble is.
pub fn decode_steps(body: &[u8]) -> Result<StepsFrame, DecodeError> {
    let (prefix, rest) =
        Prefix::read_from_prefix(body).map_err(|_| DecodeError::NoPrefix { len: body.len() })?;
    let (first, count) = (Position(prefix.first.get()), prefix.count.get());
    if count == 0 {
        return Err(DecodeError::NoSteps { first });
    }
    if first.0.checked_add(u64::from(count)).is_none() {
        return Err(DecodeError::PositionOverflow { first, count });
    }

    // The count is not to be believed before the steps are there.
    let mut steps = Vec::with_capacity((count as usize).min(rest.len() / STEP_HEADER_LEN));
    let mut decoder =
        StepDecoder { body, offset: PREFIX_LEN, part: PREFIX_LEN, registers: [0; REGISTER_COUNT] };
    let mut position = first;
    for index in 0..u64::from(count) {
        position = Position(first.0 + index);
        let step = decoder.step().map_err(|problem| DecodeError::Step {
            position,
            offset: decoder.part,
            problem,
        })?;
        steps.push(step);
    }
    match body.len() - decoder.offset {
        0 => Ok(StepsFrame { first, steps }),
        extra => Err(DecodeError::Trailing { last: position, offset: decoder.offset, extra }),
    }
}

/// Goes through a body part by part.
struct StepDecoder<'a> {
    body: &'a [u8],
    /// The next byte.
    offset: usize,
    /// Where the part that was read last starts: the place an error names.
    part: usize,
    /// The last registers seen in this body.
    registers: [u64; REGISTER_COUNT],
}

impl<'a> StepDecoder<'a> {
    fn step(&mut self) -> Result<Step, StepProblem> {
        let header: StepHeader = self.read()?;
        let exit = ExitKind::try_from(header.exit)?;
        if header.flags & !FLAG_REGISTERS != 0 {
            return Err(StepProblem::Flags(header.flags));
        }
        let event_count = header.event_count.get();
        if usize::from(event_count) > MAX_EVENTS_PER_STEP {
            return Err(StepProblem::TooManyEvents(event_count));
        }

        let events = (0..event_count).map(|_| self.event()).collect::<Result<Vec<_>, _>>()?;
        let registers =
            if header.flags & FLAG_REGISTERS != 0 { Some(Box::new(self.registers()?)) } else { None };
        Ok(Step { time_ns: header.time_ns.get(), exit, digest: header.digest.get(), events, registers })
    }

    fn event(&mut self) -> Result<Event, StepProblem> {
        let header: EventHeader = self.read()?;
        match (header.kind, header.slot) {
            (EVENT_NET_FRAME, slot) => {
                Ok(Event::NetFrame { slot, frame: self.take(header.len.get().into())?.to_vec() })
            }
            (EVENT_CONSOLE_INPUT, 0) => Ok(Event::ConsoleInput(self.take(header.len.get().into())?.to_vec())),
            (EVENT_CONSOLE_INPUT, slot) => Err(StepProblem::ConsoleSlot(slot)),
            (kind, _) => Err(StepProblem::EventKind(kind)),
        }
    }

    fn registers(&mut self) -> Result<[u64; REGISTER_COUNT], StepProblem> {
        let mask = self.read::<zerocopy::little_endian::U32>()?.get();
        if mask & !REGISTER_MASK != 0 {
            return Err(StepProblem::RegisterMask(mask));
        }
        for index in (0..REGISTER_COUNT).filter(|index| mask & (1 << index) != 0) {
            let value = self.read::<zerocopy::little_endian::U64>()?.get();
            if value == self.registers[index] {
                return Err(StepProblem::UnchangedRegister(REGISTER_NAMES[index]));
            }
            self.registers[index] = value;
        }
        Ok(self.registers)
    }

    fn read<T: FromBytes + KnownLayout + Immutable + Unaligned>(&mut self) -> Result<T, StepProblem> {
        let bytes = self.take(size_of::<T>())?;
        T::read_from_bytes(bytes)
            .map_err(|_| StepProblem::Truncated { needed: size_of::<T>(), left: bytes.len() })
    }

    fn take(&mut self, needed: usize) -> Result<&'a [u8], StepProblem> {
        self.part = self.offset;
        let left = &self.body[self.offset..];
        let Some(bytes) = left.get(..needed) else {
            return Err(StepProblem::Truncated { needed, left: left.len() });
        };
        self.offset += needed;
        Ok(bytes)
    }
}
