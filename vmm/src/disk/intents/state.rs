//! The bases of a copy, and what of them is safe in the file beside it.

use std::{fs::File, io, ops::Range, os::unix::fs::MetadataExt};

use ftlog::{DiskBase, DiskBases};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Regions,
    base::{Base, base_id},
    journal::{Content, Journal, Record, Usage},
};
use crate::{disk::stamp::Place, host::clock::wall_ns};

/// Bases that are kept: the other side may not have come to the newest, nor have made it safe.
pub const KEPT: usize = 3;
const _: () = assert!(KEPT <= ftlog::MAX_BASES);
/// For how long writes are announced, ns. Of a host that lost power, an image that was written later was written by
/// somebody else.
const ANNOUNCED_NS: u64 = 4_000_000_000;
/// A write that was under way when its process was killed is over within this time, ns.
const LAST_WRITE_NS: u64 = 20_000_000;

/// What is behind the lock.
#[derive(Debug)]
pub struct State {
    /// None for a copy whose bases are not kept.
    pub home: Option<Home>,
    /// The oldest first. What is marked for one is marked for all before it.
    pub bases: Vec<Base>,
    /// Not safe yet.
    pub proposed: Option<Base>,
    /// Written since the last proposal: likely to be written again.
    pub recent: Regions,
    journal: Option<Journal>,
    /// The copy is not written after that, Unix time in ns, as the file says.
    pub until_ns: u64,
    usage: Usage,
    /// The file says what is not true any more, and could not be spoilt.
    stale: bool,
}

/// The copy, and where its bases are kept.
#[derive(Debug)]
pub struct Home {
    pub place: Place,
    pub file: File,
}

impl State {
    /// Of a copy of `bytes` whose bases are not kept.
    pub fn new(bytes: u64) -> Self {
        Self {
            home: None,
            bases: Vec::new(),
            proposed: None,
            recent: Regions::none(bytes),
            journal: None,
            until_ns: 0,
            usage: Usage::default(),
            stale: false,
        }
    }

    /// Reads what is kept of a copy.
    ///
    /// # Errors
    /// The host's, and that it is damaged or about something else; nothing was taken then.
    pub fn load(&mut self, home: &Home, bytes: u64) -> io::Result<()> {
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

    /// No write is under way.
    pub fn rest(&mut self) {
        let Some(home) = self.home.as_ref().filter(|_| self.usage.at_work) else { return };
        let Ok(ns) = modified_ns(&home.file) else { return };
        self.note(Usage { at_work: false, ns, ..self.usage });
    }

    /// Nobody writes the copy from now on.
    pub fn close(&mut self) {
        self.rest();
        let until = Record::Until(self.usage.ns);
        if let Some(Err(error)) = self.journal.as_mut().map(|journal| journal.append(&[until])) {
            tracing::debug!(%error, "a disk's write-intent bitmap");
        }
    }

    /// Notes how the copy is used.
    pub fn note(&mut self, usage: Usage) {
        self.usage = usage;
        if let Some(Err(error)) = self.journal.as_ref().map(|journal| journal.note(usage)) {
            tracing::debug!(%error, "a disk's write-intent bitmap");
        }
    }

    /// See [`super::Intents::mark`].
    pub fn mark(&mut self, ranges: impl Iterator<Item = Range<u64>>, bytes: u64) -> io::Result<()> {
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

    /// Adds a base that is safe; on failure those from before are kept.
    pub fn add(&mut self, base: Base, bytes: u64) -> io::Result<()> {
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

    /// Nothing is known of the copy any more.
    pub fn forget(&mut self) -> io::Result<()> {
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

    /// All bases, for the file or for the other side.
    pub fn encode(&self, disk: u8, bytes: u64) -> DiskBases {
        let bases = self.bases.iter().map(|Base { id, regions }| DiskBase {
            vm: id.vm,
            generation: id.generation,
            position: id.position,
            map: regions.map().to_vec(),
        });
        DiskBases { disk, map_len: Regions::none(bytes).map().len(), bases: bases.collect() }
    }
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
