//! What of a copy may differ from another one: a write-intent bitmap, kept beside the copy, so that two copies which
//! were equal once are made equal again by comparing what was written since.
//!
//! A *base* is a position of the VM, the same on both sides. For each base of a copy this holds, at every moment and
//! after every kind of crash: *outside the regions that are marked for it, the copy holds, safely, what the VM's disk
//! held at that position.* Where two copies have a base in common, then, they are equal outside the regions that are
//! marked for it in one or the other, whatever became of the two sides since.
//!
//! ```text
//!  base at P      what was asked for before P, and is done, is made safe; what is not done is marked
//!  a write        its regions are marked for all bases, safely; then the copy is written
//!  many           a new base now and then, while the pair is protected, forgets what both have long since had
//! ```
//!
//! The same is done by the write-intent bitmap of Linux's md and the activity log of DRBD.

mod journal;
mod regions;

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::MetadataExt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use ftlog::{DiskBase, DiskBases, Generation, Position, VmId};

use xxhash_rust::xxh3::xxh3_64;

use super::stamp::Place;
use crate::host::clock::wall_ns;
use journal::{Content, Journal, Record, Usage};
pub use regions::Regions;

/// Bases that are kept: the other side may not have come to the newest, nor have made it safe.
const KEPT: usize = 3;
const _: () = assert!(KEPT <= ftlog::MAX_BASES);
/// For how long writes are announced, ns. Of a host that lost power, an image that was written later was written by
/// somebody else.
const ANNOUNCED_NS: u64 = 4_000_000_000;
/// A write that was under way when its process was killed is over within this time, ns.
const LAST_WRITE_NS: u64 = 20_000_000;

/// A position of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseId {
    /// The VM.
    pub vm: VmId,
    /// The generation.
    pub generation: Generation,
    /// The position in it.
    pub position: Position,
}

#[derive(Clone, Debug)]
struct Base {
    id: BaseId,
    /// Marked since.
    regions: Regions,
}

/// Of one copy.
#[derive(Debug)]
pub struct Intents {
    bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// None for a copy whose bases are not kept.
    home: Option<Home>,
    /// The oldest first. What is marked for one is marked for all before it.
    bases: Vec<Base>,
    /// Not safe yet.
    proposed: Option<Base>,
    /// Written since the last proposal: likely to be written again.
    recent: Regions,
    journal: Option<Journal>,
    until_ns: u64,
    usage: Usage,
    /// The file says what is not true any more, and could not be spoilt.
    stale: bool,
}

/// The copy, and where its bases are kept.
#[derive(Debug)]
struct Home {
    place: Place,
    file: File,
}

impl Intents {
    /// Of a copy of `bytes` whose bases are not kept.
    pub fn none(bytes: u64) -> Self {
        let state = State {
            home: None,
            bases: Vec::new(),
            proposed: None,
            recent: Regions::none(bytes),
            journal: None,
            until_ns: 0,
            usage: Usage::default(),
            stale: false,
        };
        Self { bytes, state: Mutex::new(state) }
    }

    /// Those beside the copy `file` of `bytes`. What cannot be understood, or is about another file, is removed; so is
    /// what has no stamp beside it.
    ///
    /// # Errors
    /// The host's, when it cannot be removed.
    pub fn open(place: Place, file: File, bytes: u64) -> io::Result<Self> {
        let intents = Self::none(bytes);
        let mut state = intents.lock();
        let home = Home { place, file };
        match state.load(&home, bytes) {
            Ok(()) => {}
            Err(error) => {
                let path = home.place.intents_path();
                tracing::warn!("{}: {error}; the whole disk will be compared", path.display());
                home.place.remove_intents()?;
            }
        }
        state.home = Some(home);
        drop(state);
        Ok(intents)
    }

    /// Before bytes of the copy are written: marks their regions, safely.
    ///
    /// # Errors
    /// The host's, and nothing may be written: neither can it be marked, nor be said that nothing is marked any more.
    pub fn mark(&self, ranges: impl Iterator<Item = Range<u64>>) -> io::Result<()> {
        self.lock().mark(ranges, self.bytes)
    }

    /// What was written until now is not likely to be written again soon: it made the copy equal to another one.
    pub fn settle(&self) {
        self.lock().recent.clear();
    }

    /// The VM comes to a position, `unfinished` is on its way to the copy. What was done before is to be made safe;
    /// then comes [`Intents::establish`]. False when there is nothing to be made safe for.
    pub fn propose(&self, id: BaseId, unfinished: impl Iterator<Item = Range<u64>>) -> bool {
        let mut state = self.lock();
        if state.home.is_none() || state.proposed.is_some() {
            return false;
        }
        let none = Regions::none(self.bytes);
        let mut regions = std::mem::replace(&mut state.recent, none);
        unfinished.flat_map(|range| regions.of_range(&range)).collect::<Vec<_>>().into_iter().for_each(
            |region| {
                regions.insert(region);
            },
        );
        state.proposed = Some(Base { id, regions });
        true
    }

    /// What was done before the position that was proposed is `safe`, or cannot be made so.
    pub fn establish(&self, safe: bool) {
        let mut state = self.lock();
        let Some(base) = state.proposed.take().filter(|_| safe) else { return };
        if let Err(error) = state.add(base, self.bytes) {
            tracing::warn!(%error, "a disk's write-intent bitmap cannot be written; the one from before is kept");
        }
    }

    /// The copy may hold something that nothing is known of.
    ///
    /// # Errors
    /// The host's: it may be believed again later.
    pub fn forget(&self) -> io::Result<()> {
        self.lock().forget()
    }

    /// What was to be written is written.
    pub fn rest(&self) {
        self.lock().rest();
    }

    /// The copy is at rest, and written by nobody from now on.
    pub fn close(&self) {
        let mut state = self.lock();
        state.rest();
        let until = Record::Until(state.usage.ns);
        if let Some(Err(error)) = state.journal.as_mut().map(|journal| journal.append(&[until])) {
            tracing::debug!(%error, "a disk's write-intent bitmap");
        }
    }

    /// The oldest base.
    pub fn oldest(&self) -> Option<BaseId> {
        self.lock().bases.first().map(|base| base.id)
    }

    /// What the other side is told.
    pub fn bases(&self, disk: u8) -> DiskBases {
        self.lock().encode(disk, self.bytes)
    }

    /// The newest base in common with a copy that has these, and the regions in which the two may differ; `None` when
    /// there is none.
    pub fn common(&self, theirs: &DiskBases) -> Option<(BaseId, Regions)> {
        let state = self.lock();
        state.bases.iter().rev().find_map(|ours| {
            let same = |base: &&DiskBase| base_id(base) == ours.id;
            let theirs = theirs.bases.iter().find(same)?;
            let mut regions = Regions::of_map(self.bytes, theirs.map.clone())?;
            regions.extend(&ours.regions);
            Some((ours.id, regions))
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn load(&mut self, home: &Home, bytes: u64) -> io::Result<()> {
        self.usage = Usage { boot: boot(), at_work: false, ns: modified_ns(&home.file)? };
        let Some((journal, content)) = Journal::open(&home.place)? else { return Ok(()) };
        let other = || io::Error::other("it is about another file, or the file was written by somebody else");
        let has_stamp = home.place.read()?.is_some();
        if !has_stamp || content.inode != inode(&home.file)? || !self.is_from(&content) {
            return Err(other());
        }
        let written = content.written;
        let read = |base: DiskBase| {
            let id = base_id(&base);
            let mut regions = Regions::of_map(bytes, base.map)?;
            written.iter().for_each(|region| {
                regions.insert(*region);
            });
            Some(Base { id, regions })
        };
        let bases: Option<Vec<_>> = content.bases.bases.into_iter().map(read).collect();
        self.bases = bases.ok_or_else(other)?;
        self.until_ns = content.until_ns;
        self.journal = Some(journal);
        Ok(())
    }

    /// The copy was modified last by whoever wrote this.
    fn is_from(&self, content: &Content) -> bool {
        let (before, modified_ns) = (content.usage, self.usage.ns);
        match before.boot == self.usage.boot {
            true if before.at_work => modified_ns <= before.ns.saturating_add(LAST_WRITE_NS),
            true => modified_ns == before.ns,
            false => modified_ns <= content.until_ns,
        }
    }

    fn rest(&mut self) {
        let Some(home) = self.home.as_ref().filter(|_| self.usage.at_work) else { return };
        let Ok(ns) = modified_ns(&home.file) else { return };
        self.note(Usage { at_work: false, ns, ..self.usage });
    }

    fn note(&mut self, usage: Usage) {
        self.usage = usage;
        if let Some(Err(error)) = self.journal.as_ref().map(|journal| journal.note(usage)) {
            tracing::debug!(%error, "a disk's write-intent bitmap");
        }
    }

    fn mark(&mut self, ranges: impl Iterator<Item = Range<u64>>, bytes: u64) -> io::Result<()> {
        if self.home.is_none() {
            return Ok(());
        }
        if self.stale {
            self.forget()?;
        }
        let (mut records, mut written) = (Vec::new(), false);
        for region in ranges.flat_map(|range| self.recent.of_range(&range)).collect::<Vec<_>>() {
            written = true;
            self.recent.insert(region);
            if let Some(proposed) = &mut self.proposed {
                proposed.regions.insert(region);
            }
            let newest = self.bases.last_mut().is_some_and(|newest| newest.regions.insert(region));
            if newest {
                self.bases.iter_mut().for_each(|base| {
                    base.regions.insert(region);
                });
                records.push(Record::Wrote(region));
            }
        }
        if !written {
            return Ok(());
        }
        let now_ns = wall_ns();
        self.note(Usage { at_work: true, ns: now_ns, ..self.usage });
        if self.bases.is_empty() {
            return Ok(());
        }
        if now_ns + ANNOUNCED_NS / 2 > self.until_ns {
            self.until_ns = now_ns + ANNOUNCED_NS;
            records.push(Record::Until(self.until_ns));
        }
        if records.is_empty() { Ok(()) } else { self.append(&records, bytes) }
    }

    fn append(&mut self, records: &[Record], bytes: u64) -> io::Result<()> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        if let Err(error) = journal.append(records) {
            tracing::warn!(%error, "a disk's write-intent bitmap cannot be written; the whole disk will be compared");
            return self.forget();
        }
        if journal.is_long()
            && let Err(error) = self.write(bytes)
        {
            tracing::debug!(%error, "a disk's write-intent bitmap stays long");
        }
        Ok(())
    }

    fn add(&mut self, base: Base, bytes: u64) -> io::Result<()> {
        let before = self.bases.clone();
        self.bases.push(base);
        let surplus = self.bases.len().saturating_sub(KEPT);
        self.bases.drain(..surplus);
        self.until_ns = wall_ns() + ANNOUNCED_NS;
        let written = self.write(bytes);
        if written.is_err() {
            self.bases = before;
        }
        written
    }

    /// Makes the file anew.
    fn write(&mut self, bytes: u64) -> io::Result<()> {
        let Some(home) = &self.home else { return Ok(()) };
        let journal = Journal::create(
            &home.place,
            inode(&home.file)?,
            self.until_ns,
            self.usage,
            &self.encode(0, bytes),
        )?;
        self.journal = Some(journal);
        Ok(())
    }

    fn forget(&mut self) -> io::Result<()> {
        self.bases.clear();
        self.proposed = None;
        let (Some(home), Some(journal)) = (&self.home, &self.journal) else { return Ok(()) };
        // One of the two is enough.
        let (spoilt, removed) = (journal.spoil(), home.place.remove_intents());
        self.stale = spoilt.is_err() && removed.is_err();
        if self.stale {
            return spoilt;
        }
        self.journal = None;
        Ok(())
    }

    fn encode(&self, disk: u8, bytes: u64) -> DiskBases {
        let bases = self.bases.iter().map(|Base { id, regions }| DiskBase {
            vm: id.vm,
            generation: id.generation,
            position: id.position,
            map: regions.map().to_vec(),
        });
        DiskBases { disk, map_len: Regions::none(bytes).map().len(), bases: bases.collect() }
    }
}

fn base_id(base: &DiskBase) -> BaseId {
    BaseId { vm: base.vm, generation: base.generation, position: base.position }
}

/// Tells this boot of the host from others.
fn boot() -> u64 {
    let id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    xxh3_64(&id)
}

/// Which file it is on its file system; block devices are found by what they are.
fn inode(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    Ok(if metadata.is_file() { metadata.ino() } else { 0 })
}

/// When the file was last written, Unix time in ns; 0 for a block device, which does not know.
fn modified_ns(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    let ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
    Ok(if metadata.is_file() { ns.max(0) as u64 } else { 0 })
}

#[cfg(test)]
mod tests;
