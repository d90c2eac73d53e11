//! Random input from a seed.

/// A small generator of random numbers: SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Fewer than `max` bytes.
    pub fn bytes(&mut self, max: u64) -> Vec<u8> {
        (0..self.below(max)).map(|_| self.next() as u8).collect()
    }

    /// `input` with one to four changes.
    pub fn changed(&mut self, input: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes);
        }
        bytes
    }

    /// One change: a byte, a small number, a piece repeated, a piece taken out, or the end.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        let length = bytes.len() as u64;
        if length == 0 {
            return bytes.push(self.next() as u8);
        }
        let at = self.below(length) as usize;
        let piece = at..(at + 1 + self.below(16) as usize).min(bytes.len());
        match self.below(6) {
            0 => bytes[at] = self.next() as u8,
            1 => bytes[at] ^= 1 << self.below(8),
            2 => bytes[at] = bytes[at].wrapping_add(self.below(5) as u8).wrapping_sub(2),
            3 => {
                let again = bytes[piece].to_vec();
                bytes.splice(at..at, again);
            }
            4 => drop(bytes.drain(piece)),
            _ => bytes.truncate(at),
        }
    }
}
