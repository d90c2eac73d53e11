//! The body of a `PageDigests` frame: what a side has in memory that belongs to no machine any more.
//!
//! ```text
//! 0 if more follow, 1 if this is the last u64 │ digest of RAM at power-on u128 │ (gpa u64 │ digest u128) …
//! ```
//!
//! Pages that are not named are zeroes.

use thiserror::Error;
use zerocopy::little_endian::{U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::pages::PAGE_SIZE;

/// The most digests in one body.
pub const PAGE_DIGESTS_PER_FRAME: usize = 4096;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct Header {
    last: U64,
    boot: U128,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct Entry {
    gpa: U64,
    digest: U128,
}

/// Why a body is not that of a `PageDigests` frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PageDigestsError {
    /// It is too short, too long, or ends within an entry.
    #[error("PageDigests: a body of {len} bytes")]
    Length {
        /// The body's length.
        len: usize,
    },
    /// Neither 0 nor 1.
    #[error("PageDigests: {0} in place of 0 or 1")]
    Last(u64),
    /// An address inside a page, or not above the one before.
    #[error("PageDigests: address {gpa:#x} in entry {index}")]
    Address {
        /// Which of the body's entries.
        index: usize,
        /// The guest-physical address.
        gpa: u64,
    },
}

/// Some pages, by rising address, and a digest of what each holds. The digest's key is the [`crate::Manifest`]'s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageDigests {
    /// No more follow.
    pub last: bool,
    /// Of the bodies of all `BootPages` frames that the side has kept, one after the other; 0 if it has not.
    pub boot: u128,
    /// Guest-physical addresses and digests, at most [`PAGE_DIGESTS_PER_FRAME`].
    pub pages: Vec<(u64, u128)>,
}

impl PageDigests {
    /// The body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let header = Header { last: u64::from(self.last).into(), boot: self.boot.into() };
        let mut body = header.as_bytes().to_vec();
        for &(gpa, digest) in &self.pages {
            body.extend_from_slice(Entry { gpa: gpa.into(), digest: digest.into() }.as_bytes());
        }
        body
    }

    /// Whether a body that was [encoded](Self::encode) is the last.
    #[must_use]
    pub fn is_last(body: &[u8]) -> bool {
        Header::ref_from_prefix(body).is_ok_and(|(header, _)| header.last.get() == 1)
    }

    /// What the body of a `PageDigests` frame says.
    ///
    /// # Errors
    /// [`PageDigestsError`].
    pub fn decode(body: &[u8]) -> Result<Self, PageDigestsError> {
        let wrong = PageDigestsError::Length { len: body.len() };
        let (header, rest) = Header::ref_from_prefix(body).map_err(|_| wrong)?;
        let entries = <[Entry]>::ref_from_bytes(rest).map_err(|_| wrong)?;
        if entries.len() > PAGE_DIGESTS_PER_FRAME {
            return Err(wrong);
        }
        let last = header.last.get();
        if last > 1 {
            return Err(PageDigestsError::Last(last));
        }
        let pages: Vec<_> = entries.iter().map(|entry| (entry.gpa.get(), entry.digest.get())).collect();
        for (index, &(gpa, _)) in pages.iter().enumerate() {
            let rises = index == 0 || pages[index - 1].0 < gpa;
            if !gpa.is_multiple_of(PAGE_SIZE as u64) || !rises {
                return Err(PageDigestsError::Address { index, gpa });
            }
        }
        Ok(Self { last: last == 1, boot: header.boot.get(), pages })
    }
}
