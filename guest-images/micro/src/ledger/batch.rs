//! What the ledger wants of the disk, and in which order: reads at once; the changes in batches, one after the other.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::record::{self, Held, Parsed, Sector};
use super::{Ledger, Record, State, Trouble};

/// Something for the disk to do. Records are its sectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Read a record.
    Read(u32),
    /// Write a record.
    Write(u32, Box<Sector>),
    /// Make a record read as zeroes.
    Erase(u32),
    /// Make what was written and erased last.
    Flush,
}

/// What a request is under way for.
enum Purpose {
    /// A reply, if the record is still as that change left it.
    Reply { record: u32, sequence: u64 },
    /// The batch's change of a record.
    Change { record: u32 },
    /// The end of the batch.
    End,
}

/// Where the batch at the disk is.
#[derive(Default, PartialEq, Eq)]
enum Phase {
    /// There is none.
    #[default]
    Idle,
    /// Its records are being written.
    Writing,
    /// All are written, and are made to last.
    Flushing,
}

/// The batch at the disk, the one that is gathered meanwhile, and everything under way.
pub(super) struct Batches {
    phase: Phase,
    /// Records of the batch at the disk: not submitted yet, and written.
    waiting: Vec<u32>,
    written: Vec<u32>,
    /// The next batch: its number, counted from 1, and its records.
    gathered: u64,
    records: Vec<u32>,
    /// Batches up to this one have ended.
    pub(super) ended: u64,
    reads: VecDeque<(u64, u32)>,
    under_way: Vec<(u64, Purpose)>,
    ticket: u64,
}

impl Default for Batches {
    fn default() -> Self {
        Self {
            phase: Phase::Idle,
            waiting: Vec::new(),
            written: Vec::new(),
            gathered: 1,
            records: Vec::new(),
            ended: 0,
            reads: VecDeque::new(),
            under_way: Vec::new(),
            ticket: 0,
        }
    }
}

impl Batches {
    /// Adds a record to the batch that is gathered.
    pub(super) fn add(&mut self, record: &mut Record, number: u32) {
        if record.batch != self.gathered {
            record.batch = self.gathered;
            self.records.push(number);
        }
    }

    /// Reads a record for a reply; the ticket under which the answer will be.
    pub(super) fn read(&mut self, record: &mut Record, number: u32) -> u64 {
        record.readers += 1;
        let ticket = self.begin(Purpose::Reply { record: number, sequence: record.sequence });
        self.reads.push_back((ticket, number));
        ticket
    }

    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Idle && self.records.is_empty() && self.under_way.is_empty()
    }

    fn begin(&mut self, purpose: Purpose) -> u64 {
        self.ticket += 1;
        self.under_way.push((self.ticket, purpose));
        self.ticket
    }

    fn is_writing(&self) -> bool {
        self.under_way.iter().any(|(_, purpose)| matches!(purpose, Purpose::Change { .. }))
    }
}

impl Ledger {
    /// The next thing for the disk to do, with the ticket for its end; `None` when something must end before. What it
    /// gives must be done.
    pub fn next_request(&mut self) -> Option<(u64, Request)> {
        let batches = &mut self.batches;
        if let Some((ticket, number)) = batches.reads.pop_front() {
            return Some((ticket, Request::Read(number)));
        }
        if batches.phase == Phase::Idle && !batches.records.is_empty() {
            batches.phase = Phase::Writing;
            batches.waiting = core::mem::take(&mut batches.records);
            batches.gathered += 1;
        }
        if batches.phase != Phase::Writing {
            return None;
        }
        let records = &self.records;
        if let Some(at) = batches.waiting.iter().position(|&number| records[number as usize].readers == 0) {
            let number = batches.waiting.remove(at);
            return Some((batches.begin(Purpose::Change { record: number }), self.change_on_disk(number)));
        }
        if !batches.waiting.is_empty() || batches.is_writing() {
            return None;
        }
        batches.phase = Phase::Flushing;
        Some((batches.begin(Purpose::End), Request::Flush))
    }

    /// Makes a record on the disk what it is in memory: a change of the next batch may go along.
    fn change_on_disk(&self, number: u32) -> Request {
        let Record { state, key, value, sequence, .. } = &self.records[number as usize];
        match state {
            State::Erased => Request::Erase(number),
            _ => Request::Write(
                number,
                Box::new(record::format(number, Held { key, value, sequence: *sequence })),
            ),
        }
    }

    /// Replies to reads that nobody took are forgotten; to be called before the ends of a round are told.
    pub fn begin_round(&mut self) {
        self.answers.clear();
    }

    /// What came of a request: what was read, `None` when the disk could not do it.
    ///
    /// # Panics
    /// When there is no such request under way.
    pub fn ended(&mut self, ticket: u64, outcome: Option<&[u8]>) {
        let under_way = &mut self.batches.under_way;
        let at = under_way.iter().position(|(other, _)| *other == ticket).expect("the ticket of a request");
        match under_way.swap_remove(at).1 {
            Purpose::Reply { record, sequence } => self.read_ended(ticket, record, sequence, outcome),
            Purpose::Change { record } if outcome.is_some() => self.batches.written.push(record),
            Purpose::Change { record } => self.lose(record, Trouble::Unwritten(record)),
            Purpose::End => self.batch_ended(outcome.is_some()),
        }
    }

    fn read_ended(&mut self, ticket: u64, number: u32, sequence: u64, outcome: Option<&[u8]>) {
        let record = &mut self.records[number as usize];
        record.readers -= 1;
        let sector = outcome.and_then(|bytes| bytes.try_into().ok());
        let answer = match sector.map(|sector: &Sector| record::parse(number, sector)) {
            None => Err(Trouble::Unreadable(number)),
            Some(Parsed::Held(held)) if held.key == record.key && held.sequence == sequence => {
                Ok(held.value.to_vec())
            }
            Some(_) => Err(Trouble::Damaged(number)),
        };
        self.answers.push((ticket, answer));
    }

    fn batch_ended(&mut self, flushed: bool) {
        self.batches.phase = Phase::Idle;
        self.batches.ended = self.batches.gathered - 1;
        for number in core::mem::take(&mut self.batches.written) {
            if flushed {
                self.settle(number);
            } else {
                self.lose(number, Trouble::Unflushed(number));
            }
        }
    }

    /// The disk has what the batch wanted of this record.
    fn settle(&mut self, number: u32) {
        let record = &mut self.records[number as usize];
        if record.batch > self.batches.ended || record.state != State::Erased {
            return;
        }
        record.state = State::Free;
        let key = core::mem::take(&mut record.key);
        // A stale record's key is in another.
        if self.index.get(&key) == Some(&number) {
            self.index.remove(&key);
        }
        self.free.push(number);
    }

    /// Nobody knows what the disk has of this record.
    fn lose(&mut self, number: u32, trouble: Trouble) {
        let record = &mut self.records[number as usize];
        record.state = State::Lost(trouble);
        record.lost = Some((self.sequence, trouble));
        // Its changes in the next batch were made to what is lost now.
        record.batch = 0;
        self.batches.records.retain(|&other| other != number);
    }
}
