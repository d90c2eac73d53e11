//! From steps to the body of a `Steps` frame.

use thiserror::Error;
use zerocopy::IntoBytes;

use super::wire::{
    DISK_HEADER_LEN, DiskHeader, EVENT_HEADER_LEN, EventHeader, FLAG_ENTRIES, FLAG_REGISTERS, PREFIX_LEN,
    Prefix, STEP_HEADER_LEN, StepHeader,
};
use super::{ExitKind, REGISTER_COUNT, StepRef};
use crate::event::{Event, MAX_DISK_STATUS, MAX_EVENTS_PER_STEP};
use crate::frame::MAX_BODY;
use crate::position::Position;

/// Why a step cannot be appended. The encoder is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// More than [`MAX_EVENTS_PER_STEP`] events.
    #[error("step {position}: {count} events, at most {MAX_EVENTS_PER_STEP} fit in one step")]
    TooManyEvents {
        /// The step.
        position: Position,
        /// Its events.
        count: usize,
    },
    /// An event longer than [`Event::max_payload`].
    #[error("step {position}, event {index}: {len} bytes, at most {max} fit in such an event")]
    EventTooLong {
        /// The step.
        position: Position,
        /// Which of its events.
        index: usize,
        /// That event's payload, in bytes.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// A disk's answer with a status over [`MAX_DISK_STATUS`].
    #[error("step {position}, event {index}: status {status} of a disk, at most {MAX_DISK_STATUS} expected")]
    DiskStatus {
        /// The step.
        position: Position,
        /// Which of its events.
        index: usize,
        /// The status.
        status: u8,
    },
    /// A count of kernel entries at an exit that is no port's.
    #[error("step {position}: a {exit:?} exit with a count of kernel entries")]
    EntriesWithoutPort {
        /// The step.
        position: Position,
        /// Its exit.
        exit: ExitKind,
    },
    /// A forced position behind others: take these and push it again.
    #[error("step {position}: a forced position is the first of its frame")]
    ForcedBehindOthers {
        /// The step.
        position: Position,
    },
    /// The step alone is longer than a frame: the recorder has to spread its events over several steps.
    #[error("step {position}: {len} bytes, longer than a frame's {MAX_BODY}")]
    StepTooLong {
        /// The step.
        position: Position,
        /// Its encoded length with the body's prefix, in bytes.
        len: usize,
    },
    /// The step does not fit behind the ones already here: take these and push it again.
    #[error("step {position}: {len} bytes, {room} left in this frame")]
    Full {
        /// The step.
        position: Position,
        /// Its encoded length, in bytes.
        len: usize,
        /// What is left, in bytes.
        room: usize,
    },
}

/// Gathers steps into the body of one `Steps` frame, without allocating once its buffer has grown.
#[derive(Debug)]
pub struct StepEncoder {
    first: Position,
    count: u32,
    body: Vec<u8>,
    /// The last registers written to this body: the next ones are stored as a difference.
    registers: [u64; REGISTER_COUNT],
}

impl StepEncoder {
    /// An encoder whose first step will be at `first`.
    #[must_use]
    pub fn new(first: Position) -> Self {
        let mut encoder = Self { first, count: 0, body: Vec::new(), registers: [0; REGISTER_COUNT] };
        encoder.restart(first);
        encoder
    }

    /// Appends a step and returns its position.
    ///
    /// # Errors
    /// [`EncodeError`]; the encoder is then as it was.
    pub fn push(&mut self, step: StepRef<'_>) -> Result<Position, EncodeError> {
        let position = self.next_position();
        if step.entries.is_some() && step.exit != ExitKind::Pio {
            return Err(EncodeError::EntriesWithoutPort { position, exit: step.exit });
        }
        if step.exit == ExitKind::Forced && !self.is_empty() {
            return Err(EncodeError::ForcedBehindOthers { position });
        }
        let mask = step.registers.map(|registers| changed(&self.registers, registers));
        let entries_len = step.entries.map_or(0, |_| size_of::<u64>());
        let events_len = events_len(position, step.events)?;
        self.check_room(position, STEP_HEADER_LEN + entries_len + events_len + registers_len(mask))?;

        let header = StepHeader {
            time_ns: step.time_ns.into(),
            digest: step.digest.into(),
            exit: step.exit as u8,
            flags: flag(mask.is_some(), FLAG_REGISTERS) | flag(step.entries.is_some(), FLAG_ENTRIES),
            event_count: (step.events.len() as u16).into(),
        };
        self.body.extend_from_slice(header.as_bytes());
        if let Some(entries) = step.entries {
            self.body.extend_from_slice(&entries.to_le_bytes());
        }
        for event in step.events {
            self.put_event(event);
        }
        if let (Some(registers), Some(mask)) = (step.registers, mask) {
            self.put_registers(registers, mask);
        }
        self.count += 1;
        self.put_prefix();
        Ok(position)
    }

    /// The body so far. It makes a valid frame once [`StepEncoder::is_empty`] is false.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The length of the body so far, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether no step was pushed yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Number of steps so far.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The position of the first step of this body.
    #[must_use]
    pub fn first_position(&self) -> Position {
        self.first
    }

    /// The position that the next step will have.
    #[must_use]
    pub fn next_position(&self) -> Position {
        Position(self.first.0.saturating_add(u64::from(self.count)))
    }

    /// Drops the body, which was written out, and goes on with the next position in the same buffer.
    pub fn clear(&mut self) {
        self.restart(self.next_position());
    }

    /// Takes the body to hand it to another thread, and goes on with the next position in a new buffer.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        let next = self.next_position();
        let body = std::mem::take(&mut self.body);
        self.body.reserve(body.len());
        self.restart(next);
        body
    }

    fn restart(&mut self, first: Position) {
        self.first = first;
        self.count = 0;
        self.registers = [0; REGISTER_COUNT];
        self.body.clear();
        self.body.resize(PREFIX_LEN, 0);
        self.put_prefix();
    }

    fn check_room(&self, position: Position, len: usize) -> Result<(), EncodeError> {
        let room = MAX_BODY - self.body.len();
        if len <= room {
            Ok(())
        } else if self.is_empty() {
            Err(EncodeError::StepTooLong { position, len: len + PREFIX_LEN })
        } else {
            Err(EncodeError::Full { position, len, room })
        }
    }

    fn put_prefix(&mut self) {
        let prefix = Prefix { first: self.first.0.into(), count: self.count.into() };
        self.body[..PREFIX_LEN].copy_from_slice(prefix.as_bytes());
    }

    fn put_event(&mut self, event: &Event) {
        let len = (event_len(event) - EVENT_HEADER_LEN) as u32;
        let header = EventHeader { kind: event.kind() as u8, slot: event.slot(), len: len.into() };
        self.body.extend_from_slice(header.as_bytes());
        if let Event::DiskDone { id, status, .. } = event {
            let header = DiskHeader { id: (*id).into(), status: *status };
            self.body.extend_from_slice(header.as_bytes());
        }
        self.body.extend_from_slice(event.payload());
    }

    fn put_registers(&mut self, registers: &[u64; REGISTER_COUNT], mask: u32) {
        self.body.extend_from_slice(&mask.to_le_bytes());
        for (index, value) in registers.iter().enumerate() {
            if mask & (1 << index) != 0 {
                self.body.extend_from_slice(&value.to_le_bytes());
            }
        }
        self.registers = *registers;
    }
}

/// The encoded length of a step's events, in bytes, once their bounds are checked.
fn events_len(position: Position, events: &[Event]) -> Result<usize, EncodeError> {
    if events.len() > MAX_EVENTS_PER_STEP {
        return Err(EncodeError::TooManyEvents { position, count: events.len() });
    }
    let mut total = 0;
    for (index, event) in events.iter().enumerate() {
        let (len, max) = (event.payload().len(), event.max_payload());
        if len > max {
            return Err(EncodeError::EventTooLong { position, index, len, max });
        }
        if let Event::DiskDone { status, .. } = *event
            && status > MAX_DISK_STATUS
        {
            return Err(EncodeError::DiskStatus { position, index, status });
        }
        total += event_len(event);
    }
    Ok(total)
}

/// The encoded length of one event, in bytes.
fn event_len(event: &Event) -> usize {
    let disk = if matches!(event, Event::DiskDone { .. }) { DISK_HEADER_LEN } else { 0 };
    EVENT_HEADER_LEN + disk + event.payload().len()
}

fn flag(set: bool, flag: u8) -> u8 {
    if set { flag } else { 0 }
}

fn registers_len(mask: Option<u32>) -> usize {
    mask.map_or(0, |mask| size_of::<u32>() + mask.count_ones() as usize * size_of::<u64>())
}

/// One bit for each register that differs.
fn changed(old: &[u64; REGISTER_COUNT], new: &[u64; REGISTER_COUNT]) -> u32 {
    (0..REGISTER_COUNT).filter(|&index| old[index] != new[index]).fold(0, |mask, index| mask | 1 << index)
}
