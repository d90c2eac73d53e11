//! The body of a `Pages` frame: guest memory.
//!
//! ```text
//! repeated: gpa u64 │ 4096 bytes
//! ```

use thiserror::Error;

/// The length of a page, in bytes.
pub const PAGE_SIZE: usize = 4096;
/// How many pages are written into one frame: 124 KiB, so that nothing has to wait long behind it. One who reads takes as
/// many as come.
pub const PAGES_PER_FRAME: usize = (128 << 10) / RECORD_LEN;

const GPA_LEN: usize = size_of::<u64>();
const RECORD_LEN: usize = GPA_LEN + PAGE_SIZE;

/// Why a body is not that of a `Pages` frame. Offsets are in bytes from the start of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PagesError {
    /// Part of a record at the end.
    #[error("Pages: body offset {offset}: {left} bytes left, {RECORD_LEN} expected")]
    Truncated {
        /// Where the last record starts.
        offset: usize,
        /// What is there of it.
        left: usize,
    },
    /// An address inside a page.
    #[error("Pages: body offset {offset}: address {gpa:#x} is not that of a page")]
    Misaligned {
        /// Where the record starts.
        offset: usize,
        /// The guest-physical address.
        gpa: u64,
    },
    /// An address that is not above the one before.
    #[error("Pages: body offset {offset}: address {gpa:#x} after {previous:#x}")]
    Order {
        /// Where the record starts.
        offset: usize,
        /// The guest-physical address.
        gpa: u64,
        /// The one before.
        previous: u64,
    },
}

/// Appends a page to the body of a `Pages` frame. Addresses have to be multiples of [`PAGE_SIZE`] and to rise; at
/// most [`PAGES_PER_FRAME`] belong in one body.
pub fn encode_page(gpa: u64, page: &[u8; PAGE_SIZE], body: &mut Vec<u8>) {
    debug_assert_eq!(gpa % PAGE_SIZE as u64, 0, "page address {gpa:#x}");
    body.extend_from_slice(&gpa.to_le_bytes());
    body.extend_from_slice(page);
}

/// Goes through the body of a `Pages` frame. Whether the addresses are those of memory, the caller decides.
#[must_use]
pub fn decode_pages(body: &[u8]) -> Pages<'_> {
    Pages { body, offset: 0, previous: None }
}

/// The pages of one body, by rising address. It ends after the first error.
#[derive(Debug, Clone)]
pub struct Pages<'a> {
    body: &'a [u8],
    offset: usize,
    previous: Option<u64>,
}

impl<'a> Pages<'a> {
    fn record(&mut self, rest: &'a [u8]) -> Result<(u64, &'a [u8; PAGE_SIZE]), PagesError> {
        let offset = self.offset;
        let Some((gpa, page)) = split_record(rest) else {
            return Err(PagesError::Truncated { offset, left: rest.len() });
        };
        if gpa % PAGE_SIZE as u64 != 0 {
            return Err(PagesError::Misaligned { offset, gpa });
        }
        if let Some(previous) = self.previous.filter(|previous| *previous >= gpa) {
            return Err(PagesError::Order { offset, gpa, previous });
        }
        self.previous = Some(gpa);
        self.offset += RECORD_LEN;
        Ok((gpa, page))
    }
}

impl<'a> Iterator for Pages<'a> {
    type Item = Result<(u64, &'a [u8; PAGE_SIZE]), PagesError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.body[self.offset..];
        if rest.is_empty() {
            return None;
        }
        let record = self.record(rest);
        if record.is_err() {
            self.offset = self.body.len();
        }
        Some(record)
    }
}

fn split_record(bytes: &[u8]) -> Option<(u64, &[u8; PAGE_SIZE])> {
    let (gpa, rest) = bytes.split_first_chunk::<GPA_LEN>()?;
    Some((u64::from_le_bytes(*gpa), rest.first_chunk()?))
}
