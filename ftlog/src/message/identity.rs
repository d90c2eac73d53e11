//! Which VM, which disk, which of the VM's live sides.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Which VM a log belongs to; chosen at random when the VM is new, and the same for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VmId(pub [u8; 16]);

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for VmId {
    type Err = ();

    /// Reads what `Display` writes: 32 hexadecimal digits in lower case.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut id = [0; 16];
        let digits = text.as_bytes();
        if digits.len() != 32 || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(());
        }
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| ())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| ())?;
        }
        Ok(Self(id))
    }
}

/// Which disk of a VM a copy is of; chosen at random when a VM first has the disk, and the same on both sides.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DiskId(pub [u8; 16]);

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        VmId(self.0).fmt(f)
    }
}

impl FromStr for DiskId {
    type Err = ();

    /// Reads what `Display` writes, as for [`VmId`].
    fn from_str(text: &str) -> Result<Self, ()> {
        text.parse().map(|VmId(id)| Self(id))
    }
}

/// Which of a VM's successive live sides this is; each takeover claims the next one from the arbiter.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation that a takeover from this one claims. Saturates, as [`Position::next`](crate::Position::next) does.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
