//! What is known of a copy of a disk, kept where the guest does not see it.
//!
//! A file's stamp is a small file beside it, `IMAGE.ftvmm`. That of a block device is in a directory of the host's
//! , under what identifies the device. It says which disk of which VM the copy is of, and how far it goes.
//!
//! ```text
//!             claim won                     the VM ends in order
//!  no stamp ────────────► live, g ─────────────────────────────► ended, g
//!      │                     ▲  takeover, g + 1                     │
//!      │  first block        │                                      │ first block
//!      └──────────► half ──► follower, g  (every block is safe) ◄───┘
//! ```

mod place;
mod rules;

use std::{fmt, io};

use ftlog::{DiskId, DiskLine, DiskMode, Generation, VmId};
use serde::{Deserialize, Serialize};

pub use place::Place;
pub use rules::{Theirs, may_be_overwritten, may_boot};

use crate::{
    arbiter::time,
    host::clock::wall_ns,
    identity::{CopyState, random},
};

/// The form of a stamp. Another one is not read.
const VERSION: u32 = 1;

/// How far a copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StampState {
    /// Written by the side that held its generation: it has all that the VM did in it.
    Live,
    /// It was equal to that side's copy at a moment of its generation, and followed it from then on. What was
    /// acknowledged last may be missing after a loss of both sides.
    Follower,
    /// The VM ended in order in its generation, and the copy has all of it.
    Ended,
    /// It is being made equal to another copy, and is a mixture.
    Half,
}

impl fmt::Display for StampState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "written by the live side",
            Self::Follower => "followed the live side",
            Self::Ended => "the VM ended in order",
            Self::Half => "half made: a mixture of two copies",
        })
    }
}

/// What a copy had been before it was begun to be made equal to another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// Its stamp then.
    pub stamp: Option<Box<Stamp>>,
    /// The journal with what was overwritten; without one the copy from before is gone.
    pub undo: Option<String>,
}

/// A copy's stamp.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// Its form.
    pub version: u32,
    /// Which disk, on both sides the same.
    #[serde(with = "hex")]
    pub disk: DiskId,
    /// Of which VM.
    #[serde(with = "hex")]
    pub vm: VmId,
    /// That VM's name.
    pub name: String,
    /// Which of its disks, in the order of the command line.
    pub index: u8,
    /// The disk's size.
    pub bytes: u64,
    /// Both sides write the same file.
    pub shared: bool,
    /// The generation that `state` is about.
    #[serde(with = "number")]
    pub generation: Generation,
    /// How far it goes.
    pub state: StampState,
    /// Since then the VM was run from it alone (`ftvmm run`), and it is equal to no other copy.
    pub alone: bool,
    /// The first and the last generation of which it does not have all, because the VM was started from an older copy.
    pub lacks: Option<(u64, u64)>,
    /// The host that wrote the stamp.
    pub by: String,
    /// When, Unix time in ms.
    pub at_ms: u64,
    /// Of a copy that is half made.
    pub before: Option<Before>,
}

/// What all stamps of a VM's disks say alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The VM.
    pub vm: VmId,
    /// Its name.
    pub name: String,
    /// The generation.
    pub generation: Generation,
    /// How far the copies go.
    pub state: StampState,
}

impl Mark {
    /// It was true later than the other.
    pub fn is_after(&self, other: &Self) -> bool {
        let order = |mark: &Self| (mark.generation, mark.state == StampState::Ended);
        order(self) > order(other)
    }
}

impl Stamp {
    /// The stamp, written now, of disk number `index`, of which `before` is known.
    pub fn new(mark: &Mark, disk: DiskId, index: u8, bytes: u64, mode: DiskMode) -> Self {
        Self {
            version: VERSION,
            disk,
            vm: mark.vm,
            name: mark.name.clone(),
            index,
            bytes,
            shared: mode == DiskMode::Shared,
            generation: mark.generation,
            state: mark.state,
            alone: false,
            lacks: None,
            by: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            at_ms: wall_ns() / 1_000_000,
            before: None,
        }
    }

    /// What a copy lacks that the VM runs from in `generation`, when this was its stamp before; `started` when it was not
    /// taken over from a live side, but started from what is on the disk.
    pub fn lacks_from(&self, generation: Generation, started: bool) -> Option<(u64, u64)> {
        let first = match self.state {
            StampState::Half => 0,
            StampState::Follower if started => self.generation.0,
            _ => self.generation.0.saturating_add(1),
        };
        let last = generation.0.saturating_sub(1);
        if first > last {
            return self.lacks;
        }
        Some((self.lacks.map_or(first, |(before, _)| before.min(first)), last))
    }

    /// What the other side is told of it.
    pub fn line(&self) -> DiskLine {
        let lacks = self.lacks.map(|(first, last)| (Generation(first), Generation(last)));
        DiskLine { id: Some(self.disk), lacks }
    }

    /// A new disk's id.
    ///
    /// # Errors
    /// The host's.
    pub fn new_disk() -> io::Result<DiskId> {
        random().map(DiskId)
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        let stamp: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let older = |before: &Before| before.stamp.as_ref().is_none_or(|stamp| stamp.before.is_none());
        if stamp.version != VERSION {
            return Err(format!("it has version {}, this program knows {VERSION}", stamp.version));
        }
        if (stamp.state == StampState::Half) != stamp.before.is_some() || !stamp.before.iter().all(older) {
            return Err("it does not say what the copy was before".to_owned());
        }
        Ok(stamp)
    }

    fn to_text(&self) -> io::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, generation, state, by, at_ms, .. } = self;
        write!(f, "disk {} of the VM {name}, generation {generation}: {state}", self.index)?;
        if self.alone {
            write!(f, ", and it was run alone since")?;
        }
        write!(f, " ({by}, {})", time(*at_ms))
    }
}

impl From<Option<&Stamp>> for CopyState {
    fn from(stamp: Option<&Stamp>) -> Self {
        let Some(Stamp { vm, name, generation, state, .. }) = stamp else { return Self::Unstamped };
        let (vm, name, generation) = (*vm, name.clone(), *generation);
        match state {
            StampState::Half => Self::Half { vm },
            _ if stamp.is_some_and(|stamp| stamp.shared) => Self::Shared { vm, name },
            state => Self::Stamped { vm, name, generation, complete: *state != StampState::Follower },
        }
    }
}

mod hex {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub fn deserialize<'de, T: FromStr, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|_| D::Error::custom("32 hexadecimal digits expected"))
    }
}

mod number {
    use ftlog::Generation;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(generation: &Generation, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(generation.0)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Generation, D::Error> {
        u64::deserialize(from).map(Generation)
    }
}

#[cfg(test)]
mod tests;
