//! The running digest of an execution.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{ExitKind, REGISTER_COUNT, RegisterFile};

/// kind, address, length of data, digest of data or the data itself, registers: each eight bytes.
const WORDS: usize = 4 + REGISTER_COUNT;

/// A digest over every sync point so far: each value is the seed of the next, so that two executions that ever
/// differed stay different.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunningDigest(u64);

impl RunningDigest {
    /// Goes on from the value of a saved state.
    pub fn from_value(value: u64) -> Self {
        Self(value)
    }

    /// The whole value.
    pub fn value(self) -> u64 {
        self.0
    }

    /// What a log record carries. A difference that these 32 bits miss once still shows in every later one.
    pub fn short(self) -> u32 {
        self.0 as u32
    }

    /// Takes in a sync point: the exit's kind and address, the data the guest wrote, and the registers.
    pub fn absorb_exit(&mut self, kind: ExitKind, address: u64, written: &[u8], registers: &RegisterFile) {
        let mut words = [0u64; WORDS];
        words[..4].copy_from_slice(&[kind as u64, address, written.len() as u64, data_word(written)]);
        words[4..].copy_from_slice(registers);
        self.absorb(zerocopy::IntoBytes::as_bytes(&words));
    }

    /// Takes in what goes in or comes out at a sync point, the time, an event or an output. So a log that was
    /// changed, or a guest that says something else, is found at the next sync point and not when it comes to show in
    /// a register.
    pub fn absorb(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }
}

fn data_word(data: &[u8]) -> u64 {
    let mut word = [0; 8];
    match word.get_mut(..data.len()) {
        Some(room) => {
            room.copy_from_slice(data);
            u64::from_le_bytes(word)
        }
        None => xxh3_64_with_seed(data, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_of(address: u64, written: &[u8], rax: u64) -> u64 {
        let mut registers = [7; REGISTER_COUNT];
        registers[0] = rax;
        let mut digest = RunningDigest::default();
        digest.absorb_exit(ExitKind::Pio, address, written, &registers);
        digest.value()
    }

    #[test]
    fn address_data_and_registers_each_count() {
        let base = digest_of(0x3f8, b"a", 1);
        assert_eq!(base, digest_of(0x3f8, b"a", 1));
        assert_ne!(base, digest_of(0x3f9, b"a", 1));
        assert_ne!(base, digest_of(0x3f8, b"b", 1));
        assert_ne!(base, digest_of(0x3f8, b"a", 2));
        assert_ne!(digest_of(0, b"123456789", 0), digest_of(0, b"123456780", 0));
    }

    #[test]
    fn a_difference_stays() {
        let (mut one, mut other) = (RunningDigest::default(), RunningDigest::default());
        one.absorb(b"x");
        other.absorb(b"y");
        for _ in 0..100 {
            one.absorb_exit(ExitKind::Halt, 0, &[], &[0; REGISTER_COUNT]);
            other.absorb_exit(ExitKind::Halt, 0, &[], &[0; REGISTER_COUNT]);
            assert_ne!(one, other);
        }
    }
}
