//! The ledger: a service whose keys live on a disk, each in a record of its own.
//!
//! A change is answered when it would survive a loss of power. Changes are gathered while the disk is at work and go to
//! it together, in one *batch* at a time: the records are written, then the disk is flushed. GET reads the record from
//! the disk and compares it with what the ledger knows; while a change of it is under way, GET waits for that instead.
//!
//! The ledger does no I/O: [`Ledger::next_request`] says what it wants of the disk, [`Ledger::ended`] is told what came
//! of it. A record that could not be written or flushed refuses what depends on it until it is set or deleted, since
//! nobody knows what is there.

mod batch;
mod commands;
pub mod record;
mod service;
mod trouble;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::store::Full;
use batch::Batches;
pub use batch::Request;
use record::{Held, MOST_KEY_BYTES, MOST_VALUE_BYTES, Parsed, Sector};
pub use service::Wait;
pub use trouble::Trouble;

/// Most records, whatever the size of the disk.
pub const MOST_RECORDS: u32 = 4096;
/// Heap of one record: what is kept of it, its key, its value, and their places in the tables.
const RECORD_MEMORY: usize = 1024;

/// What the ledger knows about a record.
#[derive(Debug, Default)]
struct Record {
    state: State,
    key: Vec<u8>,
    value: Vec<u8>,
    /// Its last change.
    sequence: u64,
    /// The batch of its last change.
    batch: u64,
    /// Reads of it under way, which no write may overtake.
    readers: u32,
    /// Changes up to this sequence that had not been answered are lost, and why.
    lost: Option<(u64, Trouble)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Holds no key.
    #[default]
    Free,
    /// Holds a key.
    Held,
    /// Its key was deleted; free once the disk knows.
    Erased,
    /// Not known to hold anything: what it held, and what it should hold, is lost.
    Lost(Trouble),
}

/// The service.
pub struct Ledger {
    records: Vec<Record>,
    index: BTreeMap<Vec<u8>, u32>,
    free: Vec<u32>,
    /// A record that was damaged or unreadable at start: any key may have been in it.
    doubt: Option<Trouble>,
    /// The last change.
    sequence: u64,
    batches: Batches,
    /// What was read for whom.
    answers: Vec<(u64, Result<Vec<u8>, Trouble>)>,
    /// What the command that is executed waits for.
    wait: Option<Wait>,
    ending: bool,
    restarting: bool,
}

impl Ledger {
    /// A ledger on a disk of `sectors`, in at most `memory` bytes of heap. Its records are all free until they are
    /// loaded.
    ///
    /// # Errors
    /// [`Full`] when that is too little memory.
    pub fn new(sectors: u64, memory: usize) -> Result<Self, Full> {
        let count = sectors.min(u64::from(MOST_RECORDS)) as usize;
        if memory < count * RECORD_MEMORY {
            return Err(Full);
        }
        Ok(Self {
            records: core::iter::repeat_with(Record::default).take(count).collect(),
            index: BTreeMap::new(),
            free: Vec::with_capacity(count),
            doubt: None,
            sequence: 0,
            batches: Batches::default(),
            answers: Vec::new(),
            wait: None,
            ending: false,
            restarting: false,
        })
    }

    /// Number of records.
    pub fn records(&self) -> u32 {
        self.records.len() as u32
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.records.iter().filter(|record| record.state == State::Held).count()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in a record as the disk has it; `None` when it could not be read. Each record is loaded once, before
    /// anything else.
    pub fn load(&mut self, number: u32, sector: Option<&Sector>) {
        let trouble = match sector.map(|sector| record::parse(number, sector)) {
            Some(Parsed::Free) => return self.free.push(number),
            Some(Parsed::Held(held)) => return self.load_key(number, held),
            Some(Parsed::Damaged) => Trouble::Damaged(number),
            None => Trouble::Unreadable(number),
        };
        self.records[number as usize].state = State::Lost(trouble);
        self.doubt = Some(trouble);
    }

    fn load_key(&mut self, number: u32, held: Held) {
        self.sequence = self.sequence.max(held.sequence);
        let record = &mut self.records[number as usize];
        record.state = State::Held;
        record.key = held.key.to_vec();
        record.value = held.value.to_vec();
        record.sequence = held.sequence;
        // A record that could not be read for a while may come back, with a key that was set anew elsewhere.
        let Some(&other) = self.index.get(held.key) else {
            self.index.insert(held.key.to_vec(), number);
            return;
        };
        let newer = self.records[other as usize].sequence < held.sequence;
        let (kept, stale) = if newer { (number, other) } else { (other, number) };
        self.index.insert(held.key.to_vec(), kept);
        self.records[stale as usize].state = State::Erased;
        self.batches.add(&mut self.records[stale as usize], stale);
    }

    /// The record of a key, when there is one; it may have been erased just now.
    fn find(&self, key: &[u8]) -> Result<Option<u32>, Trouble> {
        match self.index.get(key) {
            Some(&number) => match self.records[number as usize].state {
                State::Lost(trouble) => Err(trouble),
                _ => Ok(Some(number)),
            },
            None => self.doubt.map_or(Ok(None), Err),
        }
    }

    /// Gives a key a value, or takes it away, from the next batch on; the record that it is in.
    fn change(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<u32, Trouble> {
        if key.len() > MOST_KEY_BYTES {
            return Err(Trouble::LongKey);
        }
        if value.is_some_and(|value| value.len() > MOST_VALUE_BYTES) {
            return Err(Trouble::LongValue);
        }
        let number = match self.index.get(key) {
            Some(&number) => number,
            None => {
                let number = self.free.pop().ok_or(Trouble::Full)?;
                self.index.insert(key.to_vec(), number);
                self.records[number as usize].key = key.to_vec();
                number
            }
        };
        self.sequence += 1;
        let record = &mut self.records[number as usize];
        record.state = if value.is_some() { State::Held } else { State::Erased };
        record.value.clear();
        record.value.extend_from_slice(value.unwrap_or_default());
        record.sequence = self.sequence;
        self.batches.add(record, number);
        Ok(number)
    }

    /// Whether nothing is under way and nothing waits for the disk.
    fn is_idle(&self) -> bool {
        self.batches.is_idle()
    }

    /// Whether the guest was asked to switch itself off and all is done.
    pub fn is_ended(&self) -> bool {
        self.ending && self.is_idle()
    }

    /// Whether the machine is to begin again rather than to be switched off.
    pub fn is_restarting(&self) -> bool {
        self.restarting
    }
}

#[cfg(test)]
mod tests;
