//! The file beside a copy that holds its bases and what was written since.
//!
//! ```text
//!  head     magic, key, inode, until, length of the bases, checksum
//!  use      boot, at work, when, checksum                             of the copy, for whoever starts on the same boot
//!  bases    the body of a `DiskBases` frame
//!  record   value u64, kind u64, checksum u64                         … each safe before what it allows is done
//! ```
//!
//! Nothing but zeroes follows the last record. A file in which anything else is found is worth nothing: it is better
//! to compare two whole copies than to take two for equal that are not.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
};

use ftlog::{DiskBases, MAX_BASES, MAX_REGIONS};
use rustix::fs::{FallocateFlags, fallocate, fdatasync};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian::U64};

use crate::{disk::stamp::Place, identity::random};

const MAGIC: [u8; 8] = *b"ftvmint1";
const WROTE: u64 = 1;
const UNTIL: u64 = 2;
/// With more records than this the file is written anew.
const MAX_RECORDS: u64 = 4096;
/// Where the use is, in bytes. It does not cross a sector.
const USAGE_AT: u64 = size_of::<Head>() as u64;
const RECORD: usize = size_of::<Stored>();
/// The longest file, in bytes.
const MAX_FILE: u64 = (1 + MAX_BASES as u64) * (MAX_REGIONS as u64 / 8 + 64) + MAX_FULL * RECORD as u64;
/// The most records: of one append more than [`MAX_RECORDS`], which is of no more than all regions.
const MAX_FULL: u64 = MAX_RECORDS + MAX_REGIONS as u64 + 1;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Head {
    magic: [u8; 8],
    key: U64,
    inode: U64,
    until_ns: U64,
    bases_len: U64,
    checksum: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct StoredUse {
    boot: U64,
    at_work: U64,
    ns: U64,
    checksum: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Stored {
    value: U64,
    kind: U64,
    checksum: U64,
}

/// How a process of this boot of the host has last used the copy. A process that is killed leaves it behind; a host that
/// loses power may leave an older one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Which boot.
    pub boot: u64,
    /// The copy was being written.
    pub at_work: bool,
    /// When a write was last begun, or when the copy had last been modified, Unix time in ns.
    pub ns: u64,
}

/// What is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// This region is written from here on.
    Wrote(u64),
    /// The copy is written until then, Unix time in ns, unless there is a later record of this kind.
    Until(u64),
}

/// What a file says.
#[derive(Debug, PartialEq, Eq)]
pub struct Content {
    /// Which file the copy is, on its file system.
    pub inode: u64,
    /// The copy was not written after that, Unix time in ns.
    pub until_ns: u64,
    /// The last use.
    pub usage: Usage,
    /// The bases, as they were when the file was made.
    pub bases: DiskBases,
    /// Regions that were written since.
    pub written: Vec<u64>,
}

/// The file, to be appended to.
#[derive(Debug)]
pub struct Journal {
    file: File,
    key: u64,
    /// Where the records begin, in bytes.
    start: u64,
    records: u64,
}

impl Journal {
    /// Makes the file, in place of the one that was there, which stays as it is on failure.
    ///
    /// # Errors
    /// The host's.
    pub fn create(
        place: &Place,
        inode: u64,
        until_ns: u64,
        usage: Usage,
        bases: &DiskBases,
    ) -> io::Result<Self> {
        let key = u64::from_le_bytes(random()?);
        let bases = bases.encode();
        let mut head = Head {
            magic: MAGIC,
            key: key.into(),
            inode: inode.into(),
            until_ns: until_ns.into(),
            bases_len: (bases.len() as u64).into(),
            checksum: 0.into(),
        };
        head.checksum = checksum(&head, &bases).into();
        let bytes = [head.as_bytes(), stored_usage(key, usage).as_bytes(), &bases].concat();
        let start = bytes.len() as u64;
        let file = place.write_intents(&bytes, |file| {
            // So that a full disk does not matter later. Not every file system can.
            let _ = fallocate(file, FallocateFlags::empty(), start, MAX_RECORDS * RECORD as u64);
        })?;
        Ok(Self { file, key, start, records: 0 })
    }

    /// Opens the file, if there is one.
    ///
    /// # Errors
    /// The host's, and that it is damaged.
    pub fn open(place: &Place) -> io::Result<Option<(Self, Content)>> {
        let Some(file) = place.open_intents()? else { return Ok(None) };
        let mut bytes = Vec::new();
        (&file).take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        let damaged = || io::Error::other("it is damaged");
        if bytes.len() as u64 > MAX_FILE {
            return Err(io::Error::other("it is too long"));
        }
        let (head, rest) = Head::ref_from_prefix(&bytes).map_err(|_| damaged())?;
        let (usage, rest) = StoredUse::ref_from_prefix(rest).map_err(|_| damaged())?;
        let bases_len = usize::try_from(head.bases_len.get()).map_err(|_| damaged())?;
        let (bases, records) = rest.split_at_checked(bases_len).ok_or_else(damaged)?;
        if head.magic != MAGIC || head.checksum.get() != checksum(head, bases) {
            return Err(damaged());
        }
        let key = head.key.get();
        let mut content = Content {
            usage: read_usage(key, usage).ok_or_else(damaged)?,
            inode: head.inode.get(),
            until_ns: head.until_ns.get(),
            bases: DiskBases::decode(bases).map_err(io::Error::other)?,
            written: Vec::new(),
        };
        let start = (USAGE_AT as usize + size_of::<StoredUse>() + bases_len) as u64;
        let records = read_records(records, key, &mut content).ok_or_else(damaged)?;
        Ok(Some((Self { file, key, start, records }, content)))
    }

    /// Appends records, which are safe when this returns.
    ///
    /// # Errors
    /// The host's. The file may be damaged.
    pub fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let bytes: Vec<u8> = (self.records..)
            .zip(records)
            .flat_map(|(index, record)| stored(self.key, index, *record).as_bytes().to_vec())
            .collect();
        self.file.write_all_at(&bytes, self.start + self.records * RECORD as u64)?;
        fdatasync(&self.file)?;
        self.records += records.len() as u64;
        Ok(())
    }

    /// Notes how the copy is used. Nobody waits for that to be safe.
    ///
    /// # Errors
    /// The host's.
    pub fn note(&self, usage: Usage) -> io::Result<()> {
        self.file.write_all_at(stored_usage(self.key, usage).as_bytes(), USAGE_AT)
    }

    /// It should be made anew.
    pub fn is_long(&self) -> bool {
        self.records > MAX_RECORDS
    }

    /// Nobody will take it for a good one again.
    ///
    /// # Errors
    /// The host's.
    pub fn spoil(&self) -> io::Result<()> {
        self.file.write_all_at(&[0; size_of::<Head>()], 0)?;
        Ok(fdatasync(&self.file)?)
    }
}

fn checksum(head: &Head, bases: &[u8]) -> u64 {
    let covered = &head.as_bytes()[..size_of::<Head>() - size_of::<U64>()];
    xxh3_64_with_seed(bases, xxh3_64(covered))
}

fn stored_usage(key: u64, usage: Usage) -> StoredUse {
    let Usage { boot, at_work, ns } = usage;
    let mut stored = StoredUse {
        boot: boot.into(),
        at_work: u64::from(at_work).into(),
        ns: ns.into(),
        checksum: 0.into(),
    };
    stored.checksum = xxh3_64_with_seed(&stored.as_bytes()[..24], key).into();
    stored
}

fn read_usage(key: u64, stored: &StoredUse) -> Option<Usage> {
    let usage = Usage { boot: stored.boot.get(), at_work: stored.at_work.get() != 0, ns: stored.ns.get() };
    (stored_usage(key, usage).as_bytes() == stored.as_bytes()).then_some(usage)
}

fn stored(key: u64, index: u64, record: Record) -> Stored {
    let (value, kind) = match record {
        Record::Wrote(region) => (region, WROTE),
        Record::Until(ns) => (ns, UNTIL),
    };
    let mut stored = Stored { value: value.into(), kind: kind.into(), checksum: 0.into() };
    // The index is in it too, so that none is missing.
    stored.checksum = xxh3_64_with_seed(&stored.as_bytes()[..16], key.wrapping_add(index)).into();
    stored
}

/// Takes all records, of which it gives the number; `None` when there is anything else but zeroes after them.
fn read_records(bytes: &[u8], key: u64, content: &mut Content) -> Option<u64> {
    let mut count = 0;
    let mut rest = bytes;
    while let Ok((found, after)) = Stored::ref_from_prefix(rest) {
        let record = match found.kind.get() {
            WROTE => Record::Wrote(found.value.get()),
            UNTIL => Record::Until(found.value.get()),
            _ => break,
        };
        if found.as_bytes() != stored(key, count, record).as_bytes() {
            break;
        }
        match record {
            Record::Wrote(region) => content.written.push(region),
            Record::Until(ns) => content.until_ns = ns,
        }
        count += 1;
        rest = after;
    }
    rest.iter().all(|byte| *byte == 0).then_some(count)
}
