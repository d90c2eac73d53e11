//! Which blocks of a disk were written lately.

use std::sync::atomic::{AtomicU64, Ordering};

use ftlog::DISK_BLOCK;

const BITS: u64 = u64::BITS as u64;

/// One bit for each block of [`DISK_BLOCK`] bytes.
#[derive(Debug)]
pub struct Changes {
    words: Vec<AtomicU64>,
    blocks: u64,
}

impl Changes {
    /// None, of a disk of `bytes`.
    pub fn new(bytes: u64) -> Self {
        let blocks = bytes.div_ceil(DISK_BLOCK as u64);
        let words = (0..blocks.div_ceil(BITS)).map(|_| AtomicU64::new(0)).collect();
        Self { words, blocks }
    }

    /// How many blocks the disk has.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// `len` bytes at `offset` were written. To be called after the fact: whoever takes the mark and reads the block
    /// must find what was written.
    pub fn mark(&self, offset: u64, len: u64) {
        if len == 0 {
            return;
        }
        let last = (offset + (len - 1)) / DISK_BLOCK as u64;
        for block in offset / DISK_BLOCK as u64..=last.min(self.blocks.saturating_sub(1)) {
            self.words[(block / BITS) as usize].fetch_or(1 << (block % BITS), Ordering::AcqRel);
        }
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.words.iter().for_each(|word| word.store(0, Ordering::Release));
    }

    /// How many blocks are marked.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.load(Ordering::Acquire).count_ones())).sum()
    }

    /// Takes the mark of the first marked block from `from` on.
    pub fn take(&self, from: u64) -> Option<u64> {
        let first_word = (from / BITS) as usize;
        for (index, word) in self.words.iter().enumerate().skip(first_word) {
            let before = if index == first_word { (1 << (from % BITS)) - 1 } else { 0 };
            let marked = word.load(Ordering::Acquire) & !before;
            if marked != 0 {
                let bit = marked.trailing_zeros();
                word.fetch_and(!(1 << bit), Ordering::AcqRel);
                return Some(index as u64 * BITS + u64::from(bit));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = DISK_BLOCK as u64;

    fn taken(changes: &Changes) -> Vec<u64> {
        let mut next = 0;
        std::iter::from_fn(|| {
            let block = changes.take(next)?;
            next = block + 1;
            Some(block)
        })
        .collect()
    }

    #[test]
    fn what_was_written_is_marked_until_it_is_taken() {
        let changes = Changes::new(200 * BLOCK + 512);
        assert_eq!(changes.blocks(), 201);
        changes.mark(5 * BLOCK - 512, 1024);
        changes.mark(64 * BLOCK, BLOCK);
        changes.mark(200 * BLOCK, 512);
        changes.mark(7 * BLOCK, 0);
        assert_eq!(changes.count(), 4);
        assert_eq!(taken(&changes), [4, 5, 64, 200]);
        assert_eq!((changes.count(), changes.take(0)), (0, None));
    }

    #[test]
    fn taking_goes_on_from_where_it_is_told() {
        let changes = Changes::new(130 * BLOCK);
        changes.mark(3 * BLOCK, BLOCK);
        changes.mark(129 * BLOCK, BLOCK);
        assert_eq!(changes.take(4), Some(129));
        assert_eq!(changes.take(130), None);
        assert_eq!(changes.take(3), Some(3));
        changes.mark(0, 130 * BLOCK);
        assert_eq!(changes.count(), 130);
        changes.clear();
        assert_eq!(changes.count(), 0);
    }

    #[test]
    fn what_lies_beyond_the_end_marks_nothing_else() {
        let changes = Changes::new(BLOCK);
        changes.mark(0, 5 * BLOCK);
        assert_eq!(taken(&changes), [0]);
        assert_eq!(changes.take(BITS * 3), None);
    }
}
