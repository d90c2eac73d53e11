//! The body of a `Pages` frame: guest memory.
//!
//! ```text
//! coding u8 │ 0 × 3 │ count u32 │ (gpa │ 1 if the page is zeroes) u64 … │ contents of the others, 4096 bytes each
//! ```
//!
//! The contents are there as they are (coding 0) or as one LZ4 block (coding 1). A page is said to be zeroes where the
//! receiving side may have something else there.

use std::iter;

use thiserror::Error;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The length of a page, in bytes.
pub const PAGE_SIZE: usize = 4096;
/// The most pages with contents in one body: 124 KiB, so that nothing has to wait long behind it.
pub const PAGES_PER_FRAME: usize = 31;
/// The most pages in one body, those of zeroes included.
pub const ENTRIES_PER_FRAME: usize = 1024;

const ENTRY_LEN: usize = size_of::<u64>();
const IS_ZERO: u64 = 1;
const PLAIN: u8 = 0;
const LZ4: u8 = 1;
static ZEROES: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    coding: u8,
    reserved: [u8; 3],
    count: U32,
}

/// Why a body is not that of a `Pages` frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PagesError {
    /// It ends before it has said which pages it has.
    #[error("Pages: a body of {len} bytes ends before its contents")]
    Truncated {
        /// The body's length.
        len: usize,
    },
    /// Bytes that are zero in every version of the format.
    #[error("Pages: reserved bytes are not zero")]
    Reserved,
    /// A coding that this version does not have.
    #[error("Pages: unknown coding {0}")]
    Coding(u8),
    /// More than a body may have.
    #[error(
        "Pages: {pages} pages, {with_contents} of them with contents; at most {ENTRIES_PER_FRAME} and {PAGES_PER_FRAME} expected"
    )]
    TooMany {
        /// All of them.
        pages: usize,
        /// Those that are not zeroes.
        with_contents: usize,
    },
    /// An address inside a page.
    #[error("Pages: page {index}: address {gpa:#x} is not that of a page")]
    Misaligned {
        /// Which of the body's pages.
        index: usize,
        /// The guest-physical address.
        gpa: u64,
    },
    /// An address that is not above the one before.
    #[error("Pages: page {index}: address {gpa:#x} after {previous:#x}")]
    Order {
        /// Which of the body's pages.
        index: usize,
        /// The guest-physical address.
        gpa: u64,
        /// The one before.
        previous: u64,
    },
    /// The contents are not as long as there are pages, or do not decompress to that.
    #[error("Pages: the contents are not those of {with_contents} pages")]
    Contents {
        /// How many have contents.
        with_contents: usize,
    },
}

/// Makes bodies of `Pages` frames.
#[derive(Debug, Default)]
pub struct PagesEncoder {
    entries: Vec<u64>,
    contents: Vec<u8>,
}

impl PagesEncoder {
    /// Adds a page. Addresses have to be multiples of [`PAGE_SIZE`] and to rise within a body.
    ///
    /// # Panics
    /// When it [is full](Self::is_full).
    pub fn push(&mut self, gpa: u64, page: &[u8; PAGE_SIZE]) {
        self.add(gpa, gpa);
        self.contents.extend_from_slice(page);
    }

    /// Adds a page of zeroes.
    ///
    /// # Panics
    /// When it [is full](Self::is_full).
    pub fn push_zeroes(&mut self, gpa: u64) {
        self.add(gpa, gpa | IS_ZERO);
    }

    fn add(&mut self, gpa: u64, entry: u64) {
        assert!(!self.is_full(), "a body holds no more pages");
        debug_assert_eq!(gpa % PAGE_SIZE as u64, 0, "page address {gpa:#x}");
        self.entries.push(entry);
    }

    /// True when the body has to be taken before another page.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.contents.len() >= PAGES_PER_FRAME * PAGE_SIZE || self.entries.len() >= ENTRIES_PER_FRAME
    }

    /// True when there is nothing to take.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The body, compressed if that makes it shorter; the next page begins another.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        let compressed = lz4_flex::block::compress(&self.contents);
        if compressed.len() < self.contents.len() { self.finish(LZ4, &compressed) } else { self.take_plain() }
    }

    /// The body, not compressed: in less time.
    #[must_use]
    pub fn take_plain(&mut self) -> Vec<u8> {
        let contents = std::mem::take(&mut self.contents);
        self.finish(PLAIN, &contents)
    }

    fn finish(&mut self, coding: u8, contents: &[u8]) -> Vec<u8> {
        let header = Header { coding, reserved: [0; 3], count: U32::new(self.entries.len() as u32) };
        let mut body = header.as_bytes().to_vec();
        body.reserve(self.entries.len() * ENTRY_LEN + contents.len());
        body.extend(self.entries.drain(..).flat_map(u64::to_le_bytes));
        body.extend_from_slice(contents);
        self.contents.clear();
        body
    }
}

/// The pages of one body, by rising address.
#[derive(Debug, Clone)]
pub struct Pages {
    entries: Vec<u64>,
    contents: Vec<u8>,
}

impl Pages {
    /// A digest of them and of what came `before`: the same however the body was encoded.
    #[must_use]
    pub fn digest(&self, before: u64) -> u64 {
        let mut hash = Xxh3::with_seed(before);
        self.entries.iter().for_each(|entry| hash.update(&entry.to_le_bytes()));
        hash.update(&self.contents);
        hash.digest()
    }

    /// Their addresses and what they hold.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8; PAGE_SIZE])> {
        let (mut pages, _) = self.contents.as_chunks::<PAGE_SIZE>();
        self.entries.iter().map(move |entry| {
            let page = match pages.split_first() {
                Some((page, rest)) if entry & IS_ZERO == 0 => {
                    pages = rest;
                    page
                }
                _ => &ZEROES,
            };
            (entry & !IS_ZERO, page)
        })
    }
}

/// The same pages, compressed if that makes the body shorter. For bodies that were encoded without.
#[must_use]
pub fn compress(body: Vec<u8>) -> Vec<u8> {
    let entries_end = size_of::<Header>() + count(&body) as usize * ENTRY_LEN;
    let Some((head, contents)) = body.split_at_checked(entries_end).filter(|_| body[0] == PLAIN) else {
        return body;
    };
    let compressed = lz4_flex::block::compress(contents);
    if compressed.len() >= contents.len() {
        return body;
    }
    let mut shorter = [head, &compressed].concat();
    shorter[0] = LZ4;
    shorter
}

/// A digest of the pages of a body that was encoded without compression, and of what came before.
pub(crate) fn digest_of_plain(body: &[u8], before: u64) -> u64 {
    xxh3_64_with_seed(&body[size_of::<Header>()..], before)
}

/// How many pages a body that was encoded has.
#[must_use]
pub fn count(body: &[u8]) -> u32 {
    Header::ref_from_prefix(body).map_or(0, |(header, _)| header.count.get())
}

/// Takes the body of a `Pages` frame apart, in memory of at most [`PAGES_PER_FRAME`] pages. Whether the addresses are
/// those of memory, the caller decides.
///
/// # Errors
/// [`PagesError`], for every body that is not exactly such pages.
pub fn decode_pages(body: &[u8]) -> Result<Pages, PagesError> {
    let truncated = PagesError::Truncated { len: body.len() };
    let (header, rest) = Header::ref_from_prefix(body).map_err(|_| truncated)?;
    if header.reserved != [0; 3] {
        return Err(PagesError::Reserved);
    }
    let count = header.count.get() as usize;
    if rest.len() / ENTRY_LEN < count {
        return Err(truncated);
    }
    let (entries, contents) = rest.split_at(count * ENTRY_LEN);
    let (entries, _) = entries.as_chunks::<ENTRY_LEN>();
    let entries: Vec<u64> = entries.iter().map(|entry| u64::from_le_bytes(*entry)).collect();
    let with_contents = entries.iter().filter(|entry| *entry & IS_ZERO == 0).count();
    if count > ENTRIES_PER_FRAME || with_contents > PAGES_PER_FRAME {
        return Err(PagesError::TooMany { pages: count, with_contents });
    }
    check_addresses(&entries)?;
    let contents = decode_contents(header.coding, contents, with_contents)?;
    Ok(Pages { entries, contents })
}

fn check_addresses(entries: &[u64]) -> Result<(), PagesError> {
    let addresses = || entries.iter().map(|entry| entry & !IS_ZERO);
    let before = iter::once(None).chain(addresses().map(Some));
    for (index, (gpa, previous)) in addresses().zip(before).enumerate() {
        if gpa % PAGE_SIZE as u64 != 0 {
            return Err(PagesError::Misaligned { index, gpa });
        }
        if let Some(previous) = previous.filter(|previous| *previous >= gpa) {
            return Err(PagesError::Order { index, gpa, previous });
        }
    }
    Ok(())
}

fn decode_contents(coding: u8, contents: &[u8], with_contents: usize) -> Result<Vec<u8>, PagesError> {
    let len = with_contents * PAGE_SIZE;
    let wrong = PagesError::Contents { with_contents };
    match coding {
        PLAIN if contents.len() == len => Ok(contents.to_vec()),
        PLAIN => Err(wrong),
        LZ4 => {
            let mut decoded = vec![0; len];
            match lz4_flex::block::decompress_into(contents, &mut decoded) {
                Ok(found) if found == len => Ok(decoded),
                _ => Err(wrong),
            }
        }
        other => Err(PagesError::Coding(other)),
    }
}
