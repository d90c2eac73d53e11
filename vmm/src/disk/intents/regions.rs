//! A set of a disk's regions.

use std::ops::Range;

use ftlog::{DISK_BLOCK, blocks_in_region};

/// Regions of a disk, of [`blocks_in_region`] blocks each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions {
    bytes: u64,
    blocks_each: u64,
    map: Vec<u8>,
}

impl Regions {
    /// None, of a disk of `bytes`.
    pub fn none(bytes: u64) -> Self {
        let blocks_each = blocks_in_region(bytes);
        let count = bytes.div_ceil(blocks_each * DISK_BLOCK as u64);
        Self { bytes, blocks_each, map: vec![0; count.div_ceil(8) as usize] }
    }

    /// All.
    pub fn all(bytes: u64) -> Self {
        let mut all = Self::none(bytes);
        all.map.fill(0xff);
        all
    }

    /// Those of a map; `None` when it is not as long as this disk's.
    pub fn of_map(bytes: u64, map: Vec<u8>) -> Option<Self> {
        let none = Self::none(bytes);
        (map.len() == none.map.len()).then_some(Self { map, ..none })
    }

    /// A bit for each, the lowest of the first byte for the first.
    pub fn map(&self) -> &[u8] {
        &self.map
    }

    /// The regions that some bytes of the disk are in. What lies beyond its end is in none.
    pub fn of_range(&self, range: &Range<u64>) -> Range<u64> {
        let each = self.blocks_each * DISK_BLOCK as u64;
        let end = range.end.min(self.bytes);
        if range.start < end { range.start / each..end.div_ceil(each) } else { 0..0 }
    }

    /// Adds one; false when it was there.
    pub fn insert(&mut self, region: u64) -> bool {
        let Some(byte) = self.map.get_mut((region / 8) as usize) else { return false };
        let bit = 1 << (region % 8);
        let new = *byte & bit == 0;
        *byte |= bit;
        new
    }

    /// Adds those that some bytes of the disk are in.
    pub fn insert_range(&mut self, range: &Range<u64>) {
        for region in self.of_range(range) {
            self.insert(region);
        }
    }

    /// Whether one is in it.
    pub fn has(&self, region: u64) -> bool {
        self.map.get((region / 8) as usize).is_some_and(|byte| byte & 1 << (region % 8) != 0)
    }

    /// Adds those of another set, of the same disk.
    pub fn extend(&mut self, other: &Self) {
        self.map.iter_mut().zip(&other.map).for_each(|(ours, theirs)| *ours |= theirs);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.map.fill(0);
    }

    /// The first block from `from` on that is in one of them.
    pub fn next_block(&self, from: u64) -> Option<u64> {
        let blocks = self.bytes.div_ceil(DISK_BLOCK as u64);
        let mut block = from;
        while block < blocks {
            if self.has(block / self.blocks_each) {
                return Some(block);
            }
            block = (block / self.blocks_each + 1) * self.blocks_each;
        }
        None
    }

    /// How many consecutive blocks from `first` on are in them, at most `most`.
    pub fn run(&self, first: u64, most: u64) -> u64 {
        let last = first.saturating_add(most).min(self.bytes.div_ceil(DISK_BLOCK as u64));
        (first..last).take_while(|block| self.has(block / self.blocks_each)).count() as u64
    }

    /// How many blocks are in them.
    pub fn blocks(&self) -> u64 {
        let (mut blocks, mut next) = (0, 0);
        while let Some(first) = self.next_block(next) {
            let run = self.run(first, u64::MAX);
            blocks += run;
            next = first + run;
        }
        blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = DISK_BLOCK as u64;
    const REGION: u64 = 64 * BLOCK;

    #[test]
    fn the_blocks_of_regions_are_found_in_order() {
        let bytes = 9 * REGION + 3 * BLOCK + 512;
        let mut regions = Regions::none(bytes);
        assert_eq!((regions.next_block(0), regions.blocks()), (None, 0));
        assert!(regions.insert(2) && regions.insert(9) && !regions.insert(2));
        assert_eq!((regions.next_block(0), regions.run(128, 1000)), (Some(128), 64));
        assert_eq!((regions.next_block(192), regions.run(576, 1000)), (Some(576), 4));
        assert_eq!((regions.next_block(580), regions.blocks()), (None, 68));
        assert_eq!(Regions::all(bytes).blocks(), 9 * 64 + 4);
        let mut other = Regions::none(bytes);
        other.insert(3);
        regions.extend(&other);
        assert_eq!((regions.run(130, 1000), regions.run(130, 5)), (126, 5));
        assert_eq!(Regions::of_map(bytes, regions.map().to_vec()), Some(regions));
        assert_eq!(Regions::of_map(bytes, vec![0; 3]), None);
    }

    #[test]
    fn bytes_are_in_the_regions_that_they_touch() {
        let regions = Regions::none(3 * REGION);
        assert_eq!(regions.of_range(&(REGION - 1..REGION + 1)), 0..2);
        assert_eq!(regions.of_range(&(REGION..2 * REGION)), 1..2);
        assert_eq!(regions.of_range(&(5..5)), 0..0);
        assert_eq!(regions.of_range(&(2 * REGION..u64::MAX)), 2..3);
    }
}
