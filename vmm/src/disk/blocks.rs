//! A disk's file block by block, for making copies equal.

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::FileExt},
};

use ftlog::DISK_BLOCK;
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, fdatasync, seek};
use xxhash_rust::xxh3::xxh3_128;

const BLOCK: u64 = DISK_BLOCK as u64;

/// A file of blocks of [`DISK_BLOCK`] bytes, of which the last may be shorter.
pub struct Blocks {
    file: File,
    bytes: u64,
    /// The block after the last whose digest was asked for; what lies from there to `hole_end` was a hole.
    next: u64,
    hole_end: u64,
    buffer: Vec<u8>,
    zero: u128,
}

impl Blocks {
    /// The first `bytes` of a file.
    pub fn new(file: File, bytes: u64) -> Self {
        Self { file, bytes, next: 0, hole_end: 0, buffer: Vec::new(), zero: xxh3_128(&[0; DISK_BLOCK]) }
    }

    /// How many bytes they are.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.bytes.div_ceil(BLOCK)
    }

    /// The length of a block, in bytes; 0 when there is no such block.
    pub fn len_of(&self, block: u64) -> usize {
        let start = block.saturating_mul(BLOCK);
        self.bytes.saturating_sub(start).min(BLOCK) as usize
    }

    /// What a block holds.
    ///
    /// # Errors
    /// The host's, and that the file ends within the block.
    pub fn read(&mut self, block: u64) -> io::Result<&[u8]> {
        self.buffer.resize(self.len_of(block), 0);
        self.file.read_exact_at(&mut self.buffer, block * BLOCK)?;
        Ok(&self.buffer)
    }

    /// The digest of what a block holds. Asked for one after the other, blocks in a hole are not read, nor is looked
    /// whether it still is one: a block that is written meanwhile may have the digest of what it held before.
    ///
    /// # Errors
    /// As for [`Blocks::read`].
    pub fn digest(&mut self, block: u64) -> io::Result<u128> {
        let end = (block + 1) * BLOCK;
        let goes_on = block == self.next;
        self.next = block + 1;
        if end > self.hole_end || !goes_on {
            // Nothing but a hole from here on is ENXIO; a file that knows no holes is data.
            self.hole_end = match seek(&self.file, SeekFrom::Data(block * BLOCK)) {
                Ok(data) => data,
                Err(rustix::io::Errno::NXIO) => self.bytes,
                Err(_) => 0,
            };
        }
        if end <= self.hole_end.min(self.bytes) { Ok(self.zero) } else { self.read(block).map(xxh3_128) }
    }

    /// Writes a whole block; one of zeroes takes no space where the host can do that.
    ///
    /// # Errors
    /// The host's.
    pub fn write(&self, block: u64, data: &[u8]) -> io::Result<()> {
        let offset = block * BLOCK;
        if data.iter().all(|byte| *byte == 0) {
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if fallocate(self.file.as_fd(), hole, offset, data.len() as u64).is_ok() {
                return Ok(());
            }
        }
        self.file.write_all_at(data, offset)
    }

    /// Waits until all that was written is safe.
    ///
    /// # Errors
    /// The host's.
    pub fn sync(&self) -> io::Result<()> {
        Ok(fdatasync(&self.file)?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_hole_has_the_digest_of_zeroes_and_so_has_what_is_written_as_such() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes = 5 * BLOCK + 512;
        file.set_len(bytes).unwrap();
        file.write_all_at(&[7], 2 * BLOCK + 5).unwrap();
        let mut blocks = Blocks::new(file.try_clone().unwrap(), bytes);
        let digests = |blocks: &mut Blocks| -> Vec<u128> {
            (0..blocks.count()).map(|block| blocks.digest(block).unwrap()).collect()
        };
        let sparse = digests(&mut blocks);
        assert_eq!(
            (blocks.count(), blocks.len_of(4), blocks.len_of(5), blocks.len_of(6)),
            (6, DISK_BLOCK, 512, 0)
        );
        assert_eq!(sparse[5], xxh3_128(&[0; 512]));
        assert!(sparse[0] == sparse[4] && sparse[0] != sparse[2]);

        let mut full = blocks.read(2).unwrap().to_vec();
        file.write_all(&vec![0; 2 * DISK_BLOCK]).unwrap();
        full[9] = 1;
        blocks.write(2, &full).unwrap();
        assert_ne!(digests(&mut blocks)[2], sparse[2]);
        full[9] = 0;
        blocks.write(2, &full).unwrap();
        assert_eq!(digests(&mut blocks), sparse);
        blocks.write(2, &[0; DISK_BLOCK]).unwrap();
        assert_eq!(digests(&mut blocks)[2], sparse[0]);
        blocks.sync().unwrap();
    }

    #[test]
    fn a_file_that_ends_too_early_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 100], 0).unwrap();
        let mut blocks = Blocks::new(file, BLOCK);
        assert!(blocks.read(0).is_err() && blocks.digest(0).is_err());
    }
}
