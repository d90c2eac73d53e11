//! A small log with damaged bytes, or cut off.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
};

use ftlog::{FORMAT_VERSION, FrameReader, HEADER_LEN};
use ftvmm_tests::{
    harness,
    record::{self, Log},
};
use machine::kvm::Host;
use tempfile::TempDir;

use super::player;

/// A small recording in a directory of its own, and what the tests do to its file.
pub struct Small {
    pub directory: TempDir,
    pub path: PathBuf,
    pub log: Log,
    pub bytes: Vec<u8>,
    pub host: Host,
}

impl Small {
    /// None where there is no KVM.
    pub fn record() -> anyhow::Result<Option<Self>> {
        if !harness::require_kvm() {
            return Ok(None);
        }
        let directory = TempDir::with_prefix("ftvmm-test-")?;
        let console = format!("file={}", directory.path().join("console").display());
        let options =
            ["--kernel", "builtin:exits", "--cmdline", "rounds=1", "--memory", "4", "--console", &console];
        let (recording, path) = record::start(directory.path(), "small", &options)?;
        record::finish(recording)?;
        Self::of(directory, path).map(Some)
    }

    /// A recording that is there already.
    pub fn of(directory: TempDir, path: PathBuf) -> anyhow::Result<Self> {
        let (log, bytes, host) = (Log::read(&path)?, fs::read(&path)?, Host::open()?);
        assert_eq!(log.bytes(), bytes, "a log that was not changed is written as it was");
        player::play(&path, &host)?;
        Ok(Self { directory, path, log, bytes, host })
    }

    /// Puts `bytes` into the file: the log is refused, and the error says where the trouble is.
    pub fn refused(&self, bytes: &[u8], damage: &str) -> anyhow::Result<String> {
        fs::write(&self.path, bytes)?;
        let error = player::refusal(&self.path, &self.host, damage);
        assert!(player::names_a_place(&error), "{damage}: {error}");
        Ok(error)
    }

    /// As [`Small::refused`], by `ftvmm replay`: status 3 and one error.
    pub fn refused_by_program(&self, bytes: &[u8], damage: &str) -> anyhow::Result<()> {
        let expected = self.refused(bytes, damage)?;
        let replayed = record::replay(&self.path)?;
        assert_eq!(replayed.status.code(), Some(3), "{damage}: {}", replayed.errors);
        assert_eq!(replayed.errors, format!("ftvmm: {expected}\n"), "{damage}");
        assert!(replayed.output.is_empty(), "{damage}: {}", replayed.output);
        Ok(())
    }
}

/// The first error among the frames of a file.
fn first_error(mut bytes: &[u8]) -> Option<ftlog::FrameError> {
    let mut reader = FrameReader::new(&mut bytes);
    loop {
        match reader.read() {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(error) => return Some(error),
        }
    }
}

#[test]
fn every_flipped_byte_is_found_in_its_frame() -> anyhow::Result<()> {
    let Some(small) = Small::record()? else { return Ok(()) };
    let bounds = small.log.bounds();
    let mut bytes = small.bytes.clone();
    for at in 0..bytes.len() {
        let frame = bounds.partition_point(|bound| *bound <= at) - 1;
        for flip in [0xff, 1 << (at % 8)] {
            bytes[at] ^= flip;
            let error = first_error(&bytes);
            bytes[at] ^= flip;
            let error = error.unwrap_or_else(|| panic!("byte {at} xor {flip:#x} is not found"));
            assert_eq!((error.sequence, error.offset), (frame as u64, bounds[frame] as u64), "{error}");
        }
    }
    println!("{} bytes", bytes.len());
    Ok(())
}

/// The whole player on every byte of every header, and on some of the bytes of the bodies.
#[test]
fn a_flipped_byte_is_refused_by_the_player() -> anyhow::Result<()> {
    let Some(small) = Small::record()? else { return Ok(()) };
    let bounds = small.log.bounds();
    let file = File::options().write(true).open(&small.path)?;
    for at in 0..small.bytes.len() {
        let frame = bounds.partition_point(|bound| *bound <= at) - 1;
        if at - bounds[frame] >= HEADER_LEN && at % 97 != 0 {
            continue;
        }
        file.write_all_at(&[!small.bytes[at]], at as u64)?;
        let error = player::refusal(&small.path, &small.host, &format!("byte {at} flipped"));
        assert!(error.contains(&format!("frame {frame} at byte {}", bounds[frame])), "byte {at}: {error}");
        file.write_all_at(&small.bytes[at..=at], at as u64)?;
    }
    player::play(&small.path, &small.host)?;
    small.refused_by_program(&flipped(&small.bytes, bounds[1] + 1000), "a byte of a page")?;
    small.refused_by_program(&flipped(&small.bytes, bounds[3] + 50), "a byte of a step")
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

#[test]
fn a_log_that_is_cut_off_anywhere_is_refused() -> anyhow::Result<()> {
    let Some(small) = Small::record()? else { return Ok(()) };
    for bound in small.log.bounds() {
        let around = bound.saturating_sub(2)..=bound + 2;
        let header = bound + HEADER_LEN - 1..=bound + HEADER_LEN + 1;
        for length in around.chain(header).filter(|length| *length < small.bytes.len()) {
            small.refused(&small.bytes[..length], &format!("cut off after {length} bytes"))?;
        }
    }
    for length in (0..small.bytes.len()).step_by(499) {
        small.refused(&small.bytes[..length], &format!("cut off after {length} bytes"))?;
    }
    small.refused_by_program(&[], "empty")?;
    small.refused_by_program(&small.bytes[..5000], "cut off in its initial state")?;
    small.refused_by_program(&small.bytes[..small.bytes.len() - 1], "cut off at its end")
}

#[test]
fn what_follows_the_end_is_refused() -> anyhow::Result<()> {
    let Some(small) = Small::record()? else { return Ok(()) };
    let end = small.bytes.len();
    for garbage in [&[0][..], &[0; 100], b"FTLG", &small.bytes] {
        let bytes = [&small.bytes, garbage].concat();
        let error = small.refused(&bytes, "garbage behind the end")?;
        assert!(error.contains("after the log's closing record"), "{error}");
        assert!(error.contains(&format!("at byte {end}")), "{error}");
    }
    small.refused_by_program(&[&small.bytes[..], b"more"].concat(), "garbage behind the end")
}

#[test]
fn a_log_of_another_version_is_refused() -> anyhow::Result<()> {
    let Some(small) = Small::record()? else { return Ok(()) };
    for version in [FORMAT_VERSION - 1, FORMAT_VERSION + 1, u16::MAX] {
        let mut bytes = small.bytes.clone();
        for bound in small.log.bounds() {
            if let Some(header) = bytes.get_mut(bound..bound + HEADER_LEN) {
                header[4..6].copy_from_slice(&version.to_le_bytes());
            }
        }
        let error = small.refused(&bytes, "another version")?;
        assert!(error.contains(&format!("frame 0 at byte 0: format version {version}, ")), "{error}");
    }
    Ok(())
}

#[test]
fn what_is_no_log_is_refused() -> anyhow::Result<()> {
    let Some(small) = Small::record()? else { return Ok(()) };
    small.refused(b"\x7fELF and so on, long enough to be the header of a frame", "an ELF file")?;
    let missing = small.directory.path().join("missing");
    let replayed = record::replay(&missing)?;
    assert_eq!(replayed.status.code(), Some(3));
    assert!(replayed.errors.contains(&missing.display().to_string()), "{}", replayed.errors);
    Ok(())
}
