//! What a copy held before it was made equal to another: a journal of overwritten blocks, from which the copy from
//! before can be brought back.
//!
//! ```text
//!  header   magic, id, bytes of the disk, checksum
//!  record   block, length, 0 (zeroes) or 1 (data follow), checksum, data        … one for each overwritten block
//! ```
//!
//! A block is overwritten only when its record is safe. So what follows the last whole record is of no use to anybody,
//! and bringing back can be begun again however often it was broken off.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
};

use ftlog::DISK_BLOCK;
use rustix::fs::fdatasync;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Blocks, stamp::Place};
use crate::identity::random;

const MAGIC: [u8; 8] = *b"ftvmund1";
const HEADER: usize = 40;
const RECORD: usize = 24;
const ZEROES: u32 = 0;
const DATA: u32 = 1;

/// A journal that is written.
#[derive(Debug)]
pub struct Undo {
    file: File,
    id: [u8; 16],
    /// Blocks that have a record.
    saved: Vec<u64>,
    /// Where the next record goes.
    end: u64,
    /// Records that are not written yet.
    pending: Vec<u8>,
}

impl Undo {
    /// A new one, of a disk of `bytes`; what was there is replaced.
    ///
    /// # Errors
    /// The host's.
    pub fn create(place: &Place, bytes: u64) -> io::Result<Self> {
        let (file, id) = (place.open_undo(true)?, random()?);
        let mut undo = Self::new(file, id, bytes);
        undo.pending = header(&id, bytes).to_vec();
        undo.flush()?;
        Ok(undo)
    }

    /// The one that was begun, with this id.
    ///
    /// # Errors
    /// The host's, and that there is another one or none.
    pub fn resume(place: &Place, id: &str, bytes: u64) -> io::Result<Self> {
        let mut records = Records::open(place, id, bytes)?;
        let mut undo = Self::new(place.open_undo(false)?, records.id, bytes);
        while let Some((block, _)) = records.next()? {
            undo.mark(block);
        }
        undo.end = records.end;
        undo.file.set_len(undo.end)?;
        Ok(undo)
    }

    fn new(file: File, id: [u8; 16], bytes: u64) -> Self {
        let blocks = bytes.div_ceil(DISK_BLOCK as u64);
        Self { file, id, saved: vec![0; blocks.div_ceil(64) as usize], end: 0, pending: Vec::new() }
    }

    /// Which one it is, for the stamp.
    pub fn id(&self) -> String {
        hex(&self.id)
    }

    /// Whether a block has a record.
    pub fn has(&self, block: u64) -> bool {
        self.saved.get((block / 64) as usize).is_some_and(|word| word & 1 << (block % 64) != 0)
    }

    /// Takes what a block holds, which must not be overwritten before [`Undo::flush`].
    pub fn save(&mut self, block: u64, data: &[u8]) {
        let zeroes = data.iter().all(|byte| *byte == 0);
        let (kind, stored) = if zeroes { (ZEROES, &[][..]) } else { (DATA, data) };
        self.pending.extend(record(&self.id, block, data.len() as u32, kind, stored));
        self.pending.extend(stored);
        self.mark(block);
    }

    /// Waits until all records are safe.
    ///
    /// # Errors
    /// The host's.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(&self.pending, self.end)?;
        fdatasync(&self.file)?;
        self.end += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn mark(&mut self, block: u64) {
        if let Some(word) = self.saved.get_mut((block / 64) as usize) {
            *word |= 1 << (block % 64);
        }
    }
}

/// Writes what was overwritten back; gives how many blocks that are. `blocks` is the disk's.
///
/// # Errors
/// The host's, and that there is no such journal.
pub fn bring_back(place: &Place, id: &str, bytes: u64, blocks: &Blocks) -> io::Result<u64> {
    let mut records = Records::open(place, id, bytes)?;
    let mut count = 0;
    while let Some((block, data)) = records.next()? {
        blocks.write(block, data)?;
        count += 1;
    }
    blocks.sync()?;
    Ok(count)
}

/// The whole records of a journal.
struct Records {
    from: BufReader<File>,
    id: [u8; 16],
    bytes: u64,
    end: u64,
    data: Vec<u8>,
}

impl Records {
    fn open(place: &Place, id: &str, bytes: u64) -> io::Result<Self> {
        let mut from = BufReader::with_capacity(1 << 20, place.open_undo(false)?);
        let mut found = [0; HEADER];
        from.read_exact(&mut found)?;
        let found_id: [u8; 16] = std::array::from_fn(|index| found[8 + index]);
        if hex(&found_id) != id || found != header(&found_id, bytes) {
            return Err(io::Error::other("the undo journal is another one, or is damaged"));
        }
        Ok(Self { from, id: found_id, bytes, end: HEADER as u64, data: Vec::new() })
    }

    /// The next one; none where the first stands that is not whole.
    fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        let mut head = [0; RECORD];
        if !read_whole(&mut self.from, &mut head)? {
            return Ok(None);
        }
        let block = u64::from_le_bytes(std::array::from_fn(|index| head[index]));
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|index| head[at + index]));
        let (len, kind) = (number(8), number(12));
        let start = block.saturating_mul(DISK_BLOCK as u64);
        let expected = self.bytes.saturating_sub(start).min(DISK_BLOCK as u64);
        if u64::from(len) != expected || len == 0 || kind > DATA {
            return Ok(None);
        }
        self.data.clear();
        self.data.resize(len as usize, 0);
        if kind == DATA && !read_whole(&mut self.from, &mut self.data)? {
            return Ok(None);
        }
        let stored = if kind == DATA { &self.data[..] } else { &[] };
        if head != record(&self.id, block, len, kind, stored) {
            return Ok(None);
        }
        self.end += (RECORD + stored.len()) as u64;
        Ok(Some((block, &self.data)))
    }
}

fn read_whole(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn header(id: &[u8; 16], bytes: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..24].copy_from_slice(id);
    header[24..32].copy_from_slice(&bytes.to_le_bytes());
    let checksum = xxh3_64_with_seed(&header[..32], 0);
    header[32..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// The record before its data. Its checksum is this journal's own: what an older one has left behind is no record.
fn record(id: &[u8; 16], block: u64, len: u32, kind: u32, data: &[u8]) -> [u8; RECORD] {
    let mut head = [0; RECORD];
    head[..8].copy_from_slice(&block.to_le_bytes());
    head[8..12].copy_from_slice(&len.to_le_bytes());
    head[12..16].copy_from_slice(&kind.to_le_bytes());
    let of_id = xxh3_64_with_seed(id, 0);
    let checksum = xxh3_64_with_seed(data, xxh3_64_with_seed(&head[..16], of_id));
    head[16..].copy_from_slice(&checksum.to_le_bytes());
    head
}

fn hex(id: &[u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
