//! The size of the program.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use serde::Serialize;

/// A program file in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ProgramSize {
    /// The whole file, with what is there for debuggers only.
    pub file: u64,
    /// What is loaded to run it: code, constants, initial data.
    pub loaded: u64,
}

/// Type of a loadable segment (ELF, PT_LOAD).
const LOAD: u64 = 1;

impl ProgramSize {
    /// That of an ELF file with 64-bit entries.
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let loaded = loaded(&bytes).with_context(|| format!("{} is no 64-bit ELF file", path.display()))?;
        Ok(Self { file: bytes.len() as u64, loaded })
    }
}

fn loaded(bytes: &[u8]) -> anyhow::Result<u64> {
    ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "it does not begin as one");
    let (table, entry, count) = (number(bytes, 32, 8)?, number(bytes, 54, 2)?, number(bytes, 56, 2)?);
    let mut sum = 0;
    for index in 0..count {
        let at = (table + index * entry) as usize;
        if number(bytes, at, 4)? == LOAD {
            sum += number(bytes, at + 32, 8)?;
        }
    }
    Ok(sum)
}

/// A little-endian number.
fn number(bytes: &[u8], at: usize, len: usize) -> anyhow::Result<u64> {
    let field = at.checked_add(len).and_then(|end| bytes.get(at..end)).context("it is too short")?;
    Ok(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_loaded_in_part() {
        let ProgramSize { file, loaded } = ProgramSize::of(&std::env::current_exe().unwrap()).unwrap();
        assert!(0 < loaded && loaded < file, "{loaded} of {file}");
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert!(loaded(b"#!/bin/sh").is_err());
        assert!(loaded(b"\x7fELF\x02\x01").is_err());
    }
}
