//! From the body of a `Steps` frame to steps.

use thiserror::Error;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::wire::{
    DISK_HEADER_LEN, DiskHeader, EventHeader, FLAG_ENTRIES, FLAG_REGISTERS, PREFIX_LEN, Prefix,
    REGISTER_MASK, STEP_HEADER_LEN, StepHeader,
};
use super::{ExitKind, REGISTER_COUNT, REGISTER_NAMES, Step, UnknownExitKind};
use crate::event::{
    ENTROPY_SLOT, Event, EventKind, MAX_DISK_DATA, MAX_DISK_STATUS, MAX_EVENT_PAYLOAD, MAX_EVENTS_PER_STEP,
};
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
    /// An event of a device that has only one place, with another.
    #[error("an event of kind {kind} names slot {found}, {expected} expected")]
    Slot {
        /// The event's kind.
        kind: u8,
        /// The slot it names.
        found: u8,
        /// The slot of its device.
        expected: u8,
    },
    /// A payload over the bound of its kind.
    #[error("a payload of {len} bytes, at most {max} expected")]
    TooLong {
        /// Its length.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// A disk's answer that is too short for its id and status.
    #[error("a disk's answer of {0} bytes, at least {DISK_HEADER_LEN} expected")]
    DiskLength(usize),
    /// A disk's answer with a status that there is not.
    #[error("status {0} of a disk, at most {MAX_DISK_STATUS} expected")]
    DiskStatus(u8),
    /// A count of kernel entries at an exit that is no port's.
    #[error("a {0:?} exit with a count of kernel entries")]
    EntriesWithoutPort(ExitKind),
    /// A forced position behind others.
    #[error("a forced position that is not the first of its frame")]
    ForcedBehindOthers,
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
        let step = decoder.step(index == 0).map_err(|problem| DecodeError::Step {
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
    fn step(&mut self, is_first: bool) -> Result<Step, StepProblem> {
        let header: StepHeader = self.read()?;
        let exit = ExitKind::try_from(header.exit)?;
        let has = |flag| header.flags & flag != 0;
        if has(!(FLAG_REGISTERS | FLAG_ENTRIES)) {
            return Err(StepProblem::Flags(header.flags));
        }
        if has(FLAG_ENTRIES) && exit != ExitKind::Pio {
            return Err(StepProblem::EntriesWithoutPort(exit));
        }
        if exit == ExitKind::Forced && !is_first {
            return Err(StepProblem::ForcedBehindOthers);
        }
        let event_count = header.event_count.get();
        if usize::from(event_count) > MAX_EVENTS_PER_STEP {
            return Err(StepProblem::TooManyEvents(event_count));
        }

        let entries = if has(FLAG_ENTRIES) { Some(self.number()?) } else { None };
        let events = (0..event_count).map(|_| self.event()).collect::<Result<Vec<_>, _>>()?;
        let registers = if has(FLAG_REGISTERS) { Some(Box::new(self.registers()?)) } else { None };
        let (time_ns, digest) = (header.time_ns.get(), header.digest.get());
        Ok(Step { time_ns, exit, digest, entries, events, registers })
    }

    fn event(&mut self) -> Result<Event, StepProblem> {
        let EventHeader { kind: found, slot, len } = self.read()?;
        let kind = EventKind::from_wire(found).ok_or(StepProblem::EventKind(found))?;
        let only_slot = |expected| match slot == expected {
            true => Ok(()),
            false => Err(StepProblem::Slot { kind: found, found: slot, expected }),
        };
        let len = len.get() as usize;
        match kind {
            EventKind::NetFrame => Ok(Event::NetFrame { slot, frame: self.payload(len, MAX_EVENT_PAYLOAD)? }),
            EventKind::ConsoleInput => {
                only_slot(0)?;
                Ok(Event::ConsoleInput(self.payload(len, MAX_EVENT_PAYLOAD)?))
            }
            EventKind::DiskDone => self.disk_done(slot, len),
            EventKind::Entropy => {
                only_slot(ENTROPY_SLOT)?;
                Ok(Event::Entropy { bytes: self.payload(len, MAX_EVENT_PAYLOAD)? })
            }
        }
    }

    fn disk_done(&mut self, slot: u8, len: usize) -> Result<Event, StepProblem> {
        let data_len = len.checked_sub(DISK_HEADER_LEN).ok_or(StepProblem::DiskLength(len))?;
        let DiskHeader { id, status } = self.read()?;
        if status > MAX_DISK_STATUS {
            return Err(StepProblem::DiskStatus(status));
        }
        Ok(Event::DiskDone { slot, id: id.get(), status, data: self.payload(data_len, MAX_DISK_DATA)? })
    }

    fn payload(&mut self, len: usize, max: usize) -> Result<Vec<u8>, StepProblem> {
        if len > max {
            return Err(StepProblem::TooLong { len, max });
        }
        self.take(len).map(<[u8]>::to_vec)
    }

    fn registers(&mut self) -> Result<[u64; REGISTER_COUNT], StepProblem> {
        let mask = self.read::<zerocopy::little_endian::U32>()?.get();
        if mask & !REGISTER_MASK != 0 {
            return Err(StepProblem::RegisterMask(mask));
        }
        for index in (0..REGISTER_COUNT).filter(|index| mask & (1 << index) != 0) {
            let value = self.number()?;
            if value == self.registers[index] {
                return Err(StepProblem::UnchangedRegister(REGISTER_NAMES[index]));
            }
            self.registers[index] = value;
        }
        Ok(self.registers)
    }

    fn number(&mut self) -> Result<u64, StepProblem> {
        Ok(self.read::<zerocopy::little_endian::U64>()?.get())
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
