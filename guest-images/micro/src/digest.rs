//! A running checksum (64-bit FNV-1a over words), by which two executions of a probe are compared.

/// The checksum so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Takes one word in.
    pub fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    /// The value of all words taken in, in their order.
    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_on_every_word_and_their_order() {
        let of = |words: &[u64]| {
            let mut digest = Digest::default();
            words.iter().for_each(|&word| digest.add(word));
            digest.value()
        };
        assert_ne!(of(&[1, 2]), of(&[2, 1]));
        assert_ne!(of(&[1, 2]), of(&[1, 3]));
        assert_ne!(of(&[0]), of(&[0, 0]));
    }
}
