//! A request in memory: what the device reads and writes of it.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::super::rings::{Descriptor, NEXT, WRITE};
use super::{MOST_BYTES, Outcome, SECTOR_BYTES};

/// Most descriptors of a request: its header, one for each sector, its status.
const MOST_LINKS: usize = 2 + MOST_BYTES / SECTOR_BYTES;
/// Bytes of the header, and of the range that is to be zeroes.
const HEADER_BYTES: usize = 16;
/// The status of a request that went well, and one that no device writes.
const OK: u8 = 0;
const NO_STATUS: u8 = 0xff;

/// What to do. Lengths are multiples of [`SECTOR_BYTES`], at most [`MOST_BYTES`].
#[derive(Clone, Copy, Debug)]
pub enum Operation<'a> {
    /// Read so many bytes.
    Read {
        /// The first sector.
        sector: u64,
        /// How many bytes.
        bytes: usize,
    },
    /// Write.
    Write {
        /// The first sector.
        sector: u64,
        /// What.
        data: &'a [u8],
    },
    /// Make a sector read as zeroes. Only when [`Disk::has_write_zeroes`](super::Disk::has_write_zeroes).
    WriteZeroes {
        /// Which.
        sector: u64,
    },
    /// Make all that has ended survive a loss of power.
    Flush,
}

impl Operation<'_> {
    /// The request's type and first sector, as the device wants them.
    fn header(&self) -> (u32, u64) {
        match *self {
            Self::Read { sector, .. } => (0, sector),
            Self::Write { sector, .. } => (1, sector),
            Self::Flush => (4, 0),
            Self::WriteZeroes { .. } => (13, 0),
        }
    }
}

/// A request's share of memory. All-zero is a place that was never used.
#[repr(C, align(16))]
pub(super) struct Place {
    kind: AtomicU32,
    reserved: AtomicU32,
    sector: AtomicU64,
    table: [Descriptor; MOST_LINKS],
    data: UnsafeCell<[u8; MOST_BYTES]>,
    status: AtomicU8,
    /// The driver's own: bytes of data, and whether the device writes them.
    bytes: usize,
    read: bool,
    ticket: u64,
}

impl Place {
    /// Makes the request of `operation`.
    pub fn fill(&mut self, ticket: u64, operation: Operation) {
        let (kind, sector) = operation.header();
        self.kind.store(kind, Ordering::Relaxed);
        self.sector.store(sector, Ordering::Relaxed);
        self.status.store(NO_STATUS, Ordering::Relaxed);
        self.ticket = ticket;
        self.read = false;
        let data = self.data.get_mut();
        self.bytes = match operation {
            Operation::Read { bytes, .. } => {
                assert!(bytes <= MOST_BYTES, "a read of {bytes} bytes");
                self.read = true;
                bytes
            }
            Operation::Write { data: written, .. } => {
                data[..written.len()].copy_from_slice(written);
                written.len()
            }
            Operation::WriteZeroes { sector } => {
                data[..8].copy_from_slice(&sector.to_le_bytes());
                data[8..12].copy_from_slice(&1u32.to_le_bytes());
                // Flag: the space may be given back.
                data[12..HEADER_BYTES].copy_from_slice(&1u32.to_le_bytes());
                HEADER_BYTES
            }
            Operation::Flush => 0,
        };
    }

    /// Describes header, data in pieces of at most `piece` bytes, and status, in a chain of the descriptors that
    /// `descriptor` gives, from number `first` up; how many there are.
    pub fn describe<'a>(
        &self,
        piece: usize,
        first: u16,
        descriptor: impl Fn(u16) -> &'a Descriptor,
    ) -> usize {
        let mut link = first;
        let mut add = |address: usize, length: usize, flags: u16| {
            descriptor(link).set(address, length, flags, link + 1);
            link += 1;
        };
        let flags = if self.read { NEXT | WRITE } else { NEXT };
        add((&raw const self.kind).addr(), HEADER_BYTES, NEXT);
        for start in (0..self.bytes).step_by(piece) {
            add(self.data.get().addr() + start, piece.min(self.bytes - start), flags);
        }
        add((&raw const self.status).addr(), 1, WRITE);
        usize::from(link - first)
    }

    /// Describes it in its own table, each sector by itself: the table's address and length in bytes.
    pub fn describe_in_table(&self) -> (usize, usize) {
        let links = self.describe(SECTOR_BYTES, 0, |link| &self.table[usize::from(link)]);
        (self.table.as_ptr().addr(), links * size_of::<Descriptor>())
    }

    /// What came of it, when the device says that it has written `used` bytes.
    pub fn ended(&mut self, used: usize) -> (u64, Outcome<'_>) {
        let read = if self.read { self.bytes } else { 0 };
        // The status is one more byte than was read.
        let done = self.status.load(Ordering::Relaxed) == OK && used > read;
        (self.ticket, if done { Outcome::Done(&self.data.get_mut()[..read]) } else { Outcome::Failed })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::rings::{Rings, leak_zeroed};
    use super::*;

    fn place() -> &'static mut Place {
        // SAFETY: all-zero bytes are a valid place.
        #[allow(unsafe_code)]
        unsafe {
            leak_zeroed()
        }
    }

    #[test]
    fn a_chain_is_header_data_and_status() {
        let (place, rings) = (place(), Rings::new());
        for (operation, pieces) in [
            (Operation::Flush, 0),
            (Operation::WriteZeroes { sector: 3 }, 1),
            (Operation::Write { sector: 3, data: &[7; 1024] }, 2),
            (Operation::Read { sector: 0, bytes: MOST_BYTES }, 8),
        ] {
            place.fill(1, operation);
            assert_eq!(place.describe_in_table().1, (2 + pieces) * 16, "{operation:?}");
            let links = place.describe(MOST_BYTES, 9, |link| rings.descriptor(link));
            assert_eq!(links, 2 + pieces.min(1), "{operation:?}");
        }
    }

    #[test]
    fn only_a_request_that_the_device_has_answered_whole_is_done() {
        let place = place();
        place.fill(5, Operation::Read { sector: 0, bytes: 512 });
        assert_eq!(place.ended(513), (5, Outcome::Failed), "no status");
        place.status.store(OK, Ordering::Relaxed);
        assert_eq!(place.ended(513), (5, Outcome::Done(&[0; 512])));
        assert_eq!(place.ended(512), (5, Outcome::Failed), "a byte is missing");
        place.fill(6, Operation::Flush);
        place.status.store(1, Ordering::Relaxed);
        assert_eq!(place.ended(1), (6, Outcome::Failed));
    }
}
