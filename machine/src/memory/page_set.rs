//! A set of pages of RAM.

use std::ops::Range;

use super::{Memory, PAGE_SIZE};

/// Pages in a word of a bitmap.
const WORD: u64 = u64::BITS as u64;
/// Bytes of RAM that a word stands for.
pub const WORD_BYTES: u64 = WORD * PAGE_SIZE as u64;

/// Pages of a machine's RAM, named by their guest-physical addresses: a bit for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageSet {
    ranges: Vec<Bits>,
}

/// The pages of one range of RAM.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bits {
    range: Range<u64>,
    words: Vec<u64>,
}

impl PageSet {
    /// None of `memory`'s.
    #[must_use]
    pub fn none(memory: &Memory) -> Self {
        Self::filled(memory, |_| 0)
    }

    /// All of `memory`'s.
    #[must_use]
    pub fn all(memory: &Memory) -> Self {
        Self::filled(memory, |pages| if pages >= WORD { u64::MAX } else { (1 << pages) - 1 })
    }

    /// `word` is told how many pages are left in the range.
    fn filled(memory: &Memory, word: impl Fn(u64) -> u64) -> Self {
        let bits = |range: Range<u64>| {
            let pages = (range.end - range.start) / PAGE_SIZE as u64;
            Bits { range, words: (0..pages).step_by(WORD as usize).map(|done| word(pages - done)).collect() }
        };
        Self { ranges: memory.ranges().map(bits).collect() }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.ranges.iter().flat_map(|bits| &bits.words).map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether the page at `gpa` is among them.
    #[must_use]
    pub fn contains(&self, gpa: u64) -> bool {
        self.place(gpa).is_some_and(|(range, word, bit)| self.ranges[range].words[word] & bit != 0)
    }

    /// Adds the page at `gpa`; where there is no RAM, nothing.
    pub fn insert(&mut self, gpa: u64) {
        if let Some((range, word, bit)) = self.place(gpa) {
            self.ranges[range].words[word] |= bit;
        }
    }

    /// Takes out the page at `gpa`, if it is among them.
    pub fn take(&mut self, gpa: u64) -> bool {
        let Some((range, word, bit)) = self.place(gpa) else { return false };
        let there = self.ranges[range].words[word] & bit != 0;
        self.ranges[range].words[word] &= !bit;
        there
    }

    /// Adds what a bitmap of the RAM's range number `range` has.
    pub(crate) fn unite(&mut self, range: usize, words: &[u64]) {
        for (ours, theirs) in self.ranges[range].words.iter_mut().zip(words) {
            *ours |= theirs;
        }
    }

    /// The first words from `gpa` on that hold any, as many as there are together and at most `most`: the number of RAM's
    /// range, the address that the first of them stands for, and the words.
    pub(crate) fn run(&self, gpa: u64, most: usize) -> Option<(usize, u64, &[u64])> {
        self.ranges.iter().enumerate().find_map(|(number, bits)| {
            let skipped = (gpa.saturating_sub(bits.range.start) / WORD_BYTES) as usize;
            let first = skipped + bits.words.iter().skip(skipped).position(|word| *word != 0)?;
            let words = &bits.words[first..bits.words.len().min(first + most)];
            let end = words.iter().rposition(|word| *word != 0)? + 1;
            Some((number, bits.range.start + first as u64 * WORD_BYTES, &words[..end]))
        })
    }

    /// Takes out what [`run`](Self::run) gave.
    pub(crate) fn remove(&mut self, range: usize, gpa: u64, words: &[u64]) {
        let bits = &mut self.ranges[range];
        let first = ((gpa - bits.range.start) / WORD_BYTES) as usize;
        for (ours, theirs) in bits.words[first..].iter_mut().zip(words) {
            *ours &= !theirs;
        }
    }

    fn place(&self, gpa: u64) -> Option<(usize, usize, u64)> {
        let range = self.ranges.iter().position(|bits| bits.range.contains(&gpa))?;
        let page = (gpa - self.ranges[range].range.start) / PAGE_SIZE as u64;
        Some((range, (page / WORD) as usize, 1 << (page % WORD)))
    }
}

/// The addresses of a word's pages, the first of which is at `gpa`.
pub(crate) fn pages_of(word: u64, gpa: u64) -> impl Iterator<Item = u64> {
    (0..WORD).filter(move |bit| word >> bit & 1 != 0).map(move |bit| gpa + bit * PAGE_SIZE as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = PAGE_SIZE as u64;

    /// Their addresses, ascending.
    fn pages(set: &PageSet) -> impl Iterator<Item = u64> {
        set.ranges.iter().flat_map(|bits| {
            let addresses = (bits.range.start..).step_by(WORD_BYTES as usize);
            bits.words.iter().zip(addresses).flat_map(|(word, gpa)| pages_of(*word, gpa))
        })
    }

    #[test]
    fn pages_on_both_sides_of_the_hole_are_told_apart() {
        let memory = Memory::new(3073).unwrap();
        let mut set = PageSet::none(&memory);
        let inserted = [0, 65 * PAGE, (3 << 30) - PAGE, 4 << 30, (4 << 30) + (1 << 20) - PAGE];
        for gpa in inserted {
            set.insert(gpa);
            set.insert(3 << 30);
            set.insert((4 << 30) + (1 << 20));
        }
        assert_eq!(pages(&set).collect::<Vec<_>>(), inserted);
        assert_eq!(set.count(), inserted.len() as u64);
        assert!(set.take(65 * PAGE) && !set.take(65 * PAGE) && !set.take(3 << 30));
        assert!(set.contains(4 << 30) && !set.contains(3 << 30) && !set.contains(PAGE));
    }

    #[test]
    fn all_are_those_that_there_are() {
        let memory = Memory::new(5).unwrap();
        let set = PageSet::all(&memory);
        assert_eq!(set.count(), memory.page_count());
        assert_eq!(pages(&set).last(), Some((5 << 20) - PAGE));
    }

    #[test]
    fn runs_give_every_page_once() {
        let memory = Memory::new(3080).unwrap();
        let mut set = PageSet::none(&memory);
        let pages = [3 * PAGE, 64 * PAGE, 200 * PAGE, (3 << 30) - PAGE, 4 << 30, (4 << 30) + 100 * PAGE];
        pages.iter().for_each(|gpa| set.insert(*gpa));
        let (mut found, mut next) = (Vec::new(), 0);
        while let Some((range, gpa, words)) = set.run(next, 2) {
            let words = words.to_vec();
            assert!(words.len() <= 2 && words.last() != Some(&0));
            set.remove(range, gpa, &words);
            next = gpa + words.len() as u64 * WORD_BYTES;
            found.extend(
                words.iter().zip((gpa..).step_by(WORD_BYTES as usize)).flat_map(|(w, gpa)| pages_of(*w, gpa)),
            );
        }
        assert_eq!(found, pages);
        assert_eq!(set.count(), 0);
    }
}
