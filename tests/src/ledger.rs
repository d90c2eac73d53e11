//! What a disk of the ledger guest holds, read without the guest.
//!
//! A record is one sector of 512 bytes, its numbers little-endian: "LEDG"; length of key and of value (16 bits each); the
//! sequence (64 bits); 64 bytes for the key; 424 for the value; a 64-bit checksum. A free record is all zeroes.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, ensure};

const RECORD_BYTES: usize = 512;

/// A key's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The value.
    pub value: Vec<u8>,
    /// Which change wrote it, counted from 1 over the whole ledger.
    pub sequence: u64,
}

/// Reads all keys.
///
/// # Errors
/// When the file cannot be read, a record is damaged, or two of them contradict each other.
pub fn read(disk: &Path) -> anyhow::Result<BTreeMap<String, Record>> {
    let bytes = fs::read(disk).with_context(|| format!("cannot read {}", disk.display()))?;
    let mut keys = BTreeMap::new();
    let mut sequences = BTreeMap::new();
    for (number, sector) in bytes.chunks(RECORD_BYTES).enumerate() {
        let place = || format!("record {number} of {}", disk.display());
        let Some((key, record)) = parse(number as u64, sector).with_context(place)? else { continue };
        ensure!(record.sequence > 0, "{}: no change wrote it", place());
        if let Some(other) = sequences.insert(record.sequence, number) {
            anyhow::bail!("{}: the same change as in record {other}", place());
        }
        ensure!(keys.insert(key.clone(), record).is_none(), "{}: {key} is in another as well", place());
    }
    Ok(keys)
}

fn parse(number: u64, sector: &[u8]) -> anyhow::Result<Option<(String, Record)>> {
    if *sector == [0; RECORD_BYTES] {
        return Ok(None);
    }
    ensure!(sector.len() == RECORD_BYTES, "only {} bytes", sector.len());
    let word = |at: usize| u64::from_le_bytes(sector[at..at + 8].try_into().expect("eight bytes"));
    ensure!(&sector[..4] == b"LEDG", "no record: it begins with {:02x?}", &sector[..4]);
    // FNV-1a over 64-bit words, each followed by a rotation; the record's number comes first.
    let mixed = std::iter::once(number).chain((0..504).step_by(8).map(word));
    let sum = mixed.fold(0xcbf2_9ce4_8422_2325_u64, |sum, word| {
        (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
    });
    ensure!(sum == word(504), "checksum {:016x} instead of {sum:016x}", word(504));
    let length = |at: usize| usize::from(u16::from_le_bytes([sector[at], sector[at + 1]]));
    let key = sector[16..80].get(..length(4)).context("a key of more than 64 bytes")?;
    let value = sector[80..504].get(..length(6)).context("a value of more than 424 bytes")?;
    let key = String::from_utf8(key.to_vec()).context("a key that is no text")?;
    Ok(Some((key, Record { value: value.to_vec(), sequence: word(8) })))
}

#[cfg(test)]
mod tests {
    use micro::ledger::record::{Held, format};
    use tempfile::NamedTempFile;

    use super::*;

    fn keys(sectors: &[[u8; 512]]) -> anyhow::Result<BTreeMap<String, Record>> {
        let file = NamedTempFile::new()?;
        fs::write(file.path(), sectors.concat())?;
        read(file.path())
    }

    fn sector(number: u32, key: &str, sequence: u64) -> [u8; 512] {
        format(number, Held { key: key.as_bytes(), value: b"value", sequence })
    }

    #[test]
    fn reads_what_the_guest_writes() {
        let keys = keys(&[[0; 512], sector(1, "a", 7), [0; 512], sector(3, "b", 5)]).unwrap();
        assert_eq!(keys.len(), 2);
        assert_eq!(keys["a"], Record { value: b"value".to_vec(), sequence: 7 });
    }

    #[test]
    fn finds_what_is_wrong() {
        let wrong = |sectors: &[[u8; 512]], reason: &str| {
            let error = format!("{:#}", keys(sectors).unwrap_err());
            assert!(error.contains(reason), "{error}");
        };
        let mut damaged = sector(0, "a", 1);
        damaged[300] ^= 1;
        wrong(&[damaged], "record 0");
        wrong(&[damaged], "checksum");
        wrong(&[[0; 512], sector(2, "a", 1)], "checksum");
        wrong(&[[1; 512]], "no record");
        wrong(&[sector(0, "a", 1), sector(1, "a", 2)], "another as well");
        wrong(&[sector(0, "a", 1), sector(1, "b", 1)], "the same change");
    }
}
