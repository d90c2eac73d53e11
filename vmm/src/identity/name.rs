//! A VM's name: what its identity, its MAC address and the arbiter's records hang on.

use std::{fmt, path::Path, str::FromStr};

use ftlog::message::MAX_VM_NAME;
use xxhash_rust::xxh3::xxh3_64;

/// The longest part of a derived name that comes from the kernel's.
const MAX_STEM: usize = 40;

/// A name that can stand in a file name and in a host name: a letter or digit, and then letters, digits, `-`, `_` and
/// `.`; 63 bytes at most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VmName(String);

impl VmName {
    /// The name of a VM that was given none: the same whenever, and on whichever host, what makes a guest this guest
    /// is the same.
    #[must_use]
    pub fn derive(kernel: &str, cmdline: &str) -> Self {
        let stem = kernel.strip_prefix("builtin:").unwrap_or(kernel);
        let stem = Path::new(stem).file_stem().unwrap_or_default().to_string_lossy();
        let stem: String = stem.chars().filter(|c| c.is_ascii_alphanumeric()).take(MAX_STEM).collect();
        let stem = if stem.is_empty() { "vm".to_owned() } else { stem };
        let digest = xxh3_64(format!("{kernel}\0{cmdline}").as_bytes());
        Self(format!("{stem}-{:08x}", digest >> 32))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for VmName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let rest = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if first && rest && text.len() <= MAX_VM_NAME {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "'{text}' is no name: a letter or digit, then letters, digits, '-', '_' and '.', {MAX_VM_NAME} at most"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_stand_in_a_file_name() {
        for name in ["db", "ledger-1", "a.b_c", "7", &"x".repeat(MAX_VM_NAME)] {
            assert_eq!(name.parse::<VmName>().unwrap().as_str(), name);
        }
        for name in ["", ".hidden", "-x", "a/b", "a b", "ä", "a\n", &"x".repeat(MAX_VM_NAME + 1)] {
            assert!(name.parse::<VmName>().is_err(), "{name:?}");
        }
    }

    /// A change here would make other VMs of those that run.
    #[test]
    fn a_derived_name_is_for_ever() {
        assert_eq!(VmName::derive("builtin:kv", "").as_str(), "kv-b175129b");
        assert_eq!(VmName::derive("/srv/vm/vmlinux", "root=/dev/vda").as_str(), "vmlinux-37dbbead");
    }

    #[test]
    fn a_derived_name_is_one_and_tells_guests_apart() {
        let names = [
            ("builtin:kv", ""),
            ("builtin:kv", "port=1"),
            ("/a/kv", ""),
            ("/../..", ""),
            (&"k".repeat(300), ""),
        ]
        .map(|(kernel, cmdline)| VmName::derive(kernel, cmdline));
        for (index, name) in names.iter().enumerate() {
            assert_eq!(name.as_str().parse().as_ref(), Ok(name));
            assert!(!names[..index].contains(name), "{name}");
        }
    }
}
