//! A record on the disk: one sector, holding a key, its value, and what shows that they are whole.
//!
//! ```text
//! 0   "LEDG"        8   sequence            80   value, then zeroes
//! 4   bytes of key  16  key, then zeroes    504  checksum of the record's number and all bytes before
//! 6   bytes of value
//! ```
//!
//! Numbers are little-endian. The sequence counts the changes of the whole ledger, from 1. A sector of zeroes is a free
//! record. The record's number is in the checksum, so that a sector that was written to a wrong place is noticed.

use crate::digest::Digest;

/// Bytes of a record.
pub const RECORD_BYTES: usize = 512;
/// Longest key, in bytes.
pub const MOST_KEY_BYTES: usize = VALUE - KEY;
/// Longest value, in bytes.
pub const MOST_VALUE_BYTES: usize = CHECKSUM - VALUE;

const MAGIC: [u8; 4] = *b"LEDG";
const KEY_LENGTH: usize = 4;
const VALUE_LENGTH: usize = 6;
const SEQUENCE: usize = 8;
const KEY: usize = 16;
const VALUE: usize = 80;
const CHECKSUM: usize = 504;

/// A record's bytes.
pub type Sector = [u8; RECORD_BYTES];

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// Which of the ledger's changes made it so.
    pub sequence: u64,
}

/// What a sector says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// Nothing yet, or nothing any more.
    Free,
    /// A key.
    Held(Held<'a>),
    /// Neither.
    Damaged,
}

/// Reads record `number`.
pub fn parse(number: u32, sector: &Sector) -> Parsed<'_> {
    if sector.iter().all(|&byte| byte == 0) {
        return Parsed::Free;
    }
    let length = |at: usize| usize::from(u16::from_le_bytes([sector[at], sector[at + 1]]));
    let (key, value) = (length(KEY_LENGTH), length(VALUE_LENGTH));
    let whole = sector[..4] == MAGIC && word(sector, CHECKSUM) == checksum(number, sector);
    if !whole || key > MOST_KEY_BYTES || value > MOST_VALUE_BYTES {
        return Parsed::Damaged;
    }
    let (key, value) = (&sector[KEY..KEY + key], &sector[VALUE..VALUE + value]);
    Parsed::Held(Held { key, value, sequence: word(sector, SEQUENCE) })
}

/// The bytes of record `number`.
///
/// # Panics
/// When key or value are longer than they may be.
pub fn format(number: u32, held: Held) -> Sector {
    let mut sector = [0; RECORD_BYTES];
    sector[..4].copy_from_slice(&MAGIC);
    let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    put(KEY_LENGTH, &(held.key.len() as u16).to_le_bytes());
    put(VALUE_LENGTH, &(held.value.len() as u16).to_le_bytes());
    put(SEQUENCE, &held.sequence.to_le_bytes());
    assert!(held.key.len() <= MOST_KEY_BYTES && held.value.len() <= MOST_VALUE_BYTES, "no room in a record");
    put(KEY, held.key);
    put(VALUE, held.value);
    let sum = checksum(number, &sector);
    sector[CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
    sector
}

fn checksum(number: u32, sector: &Sector) -> u64 {
    let mut digest = Digest::default();
    digest.add(u64::from(number));
    (0..CHECKSUM).step_by(8).for_each(|at| digest.add(word(sector, at)));
    digest.value()
}

fn word(sector: &Sector, at: usize) -> u64 {
    u64::from_le_bytes(core::array::from_fn(|index| sector[at + index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: Held = Held { key: b"key", value: b"value", sequence: 7 };

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(parse(5, &format(5, HELD)), Parsed::Held(HELD));
        let longest = Held { key: &[1; MOST_KEY_BYTES], value: &[2; MOST_VALUE_BYTES], sequence: u64::MAX };
        assert_eq!(parse(0, &format(0, longest)), Parsed::Held(longest));
        assert_eq!(parse(5, &[0; RECORD_BYTES]), Parsed::Free);
    }

    #[test]
    fn every_changed_bit_and_another_place_are_noticed() {
        let sector = format(5, HELD);
        assert_eq!(parse(6, &sector), Parsed::Damaged);
        for bit in 0..RECORD_BYTES * 8 {
            let mut damaged = sector;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(5, &damaged), Parsed::Damaged, "bit {bit}");
        }
    }
}
