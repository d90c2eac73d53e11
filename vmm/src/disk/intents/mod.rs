//! What of a copy may differ from another one: a write-intent bitmap, kept beside the copy, so that two copies which
//! were equal once are made equal again by comparing what was written since.
//!
//! A *base* is a position of the VM, the same on both sides. For each base of a copy this holds, at every moment and
//! after every kind of crash: *outside the regions that are marked for it, the copy holds, safely, what the VM's disk
//! held at that position.* Where two copies have a base in common, then, they are equal outside the regions that are
//! marked for it in one or the other, whatever became of the two sides since.
//!
//! ```text
//!  base at P      what was asked for before P, and is done, is made safe; what is not done is marked
//!  a write        its regions are marked for all bases, safely; then the copy is written
//!  many           a new base now and then, while the pair is protected, forgets what both have long since had
//! ```
//!
//! The same is done by the write-intent bitmap of Linux's md and the activity log of DRBD.

mod base;
mod journal;
mod regions;
mod state;

use std::{
    fs::File,
    io,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use ftlog::{DiskBase, DiskBases};

use super::stamp::Place;
pub use base::BaseId;
use base::{Base, base_id};
pub use regions::Regions;
use state::{Home, State};

/// Of one copy.
#[derive(Debug)]
pub struct Intents {
    bytes: u64,
    state: Mutex<State>,
    /// The oldest base, as last seen.
    seen: Mutex<Option<BaseId>>,
}

impl Intents {
    /// Of a copy of `bytes` whose bases are not kept.
    pub fn none(bytes: u64) -> Self {
        Self { bytes, state: Mutex::new(State::new(bytes)), seen: Mutex::default() }
    }

    /// Those beside the copy `file` of `bytes`. What cannot be understood, or is about another file, is removed; so is
    /// what has no stamp beside it.
    ///
    /// # Errors
    /// The host's, when it cannot be removed.
    pub fn open(place: Place, file: File, bytes: u64) -> io::Result<Self> {
        let intents = Self::none(bytes);
        let mut state = intents.lock();
        let home = Home { place, file };
        match state.load(&home, bytes) {
            Ok(()) => {}
            Err(error) => {
                let path = home.place.intents_path();
                tracing::warn!("{}: {error}; the whole disk will be compared", path.display());
                home.place.remove_intents()?;
            }
        }
        state.home = Some(home);
        drop(state);
        Ok(intents)
    }

    /// Before bytes of the copy are written: marks their regions, safely.
    ///
    /// # Errors
    /// The host's, and nothing may be written: neither can it be marked, nor be said that nothing is marked any more.
    pub fn mark(&self, ranges: impl Iterator<Item = Range<u64>>) -> io::Result<()> {
        self.lock().mark(ranges, self.bytes)
    }

    /// What was written until now is not likely to be written again soon: it made the copy equal to another one.
    pub fn settle(&self) {
        self.lock().recent.clear();
    }

    /// The VM comes to a position, `unfinished` is on its way to the copy. What was done before is to be made safe;
    /// then comes [`Intents::establish`]. False when there is nothing to be made safe for.
    pub fn propose(&self, id: BaseId, unfinished: impl Iterator<Item = Range<u64>>) -> bool {
        let mut state = self.lock();
        if state.home.is_none() || state.proposed.is_some() {
            return false;
        }
        let none = Regions::none(self.bytes);
        let mut regions = std::mem::replace(&mut state.recent, none);
        unfinished.for_each(|range| regions.insert_range(&range));
        state.proposed = Some(Base { id, regions });
        true
    }

    /// What was done before the position that was proposed is `safe`, or cannot be made so.
    pub fn establish(&self, safe: bool) {
        let mut state = self.lock();
        let Some(base) = state.proposed.take().filter(|_| safe) else { return };
        if let Err(error) = state.add(base, self.bytes) {
            tracing::warn!(%error, "a disk's write-intent bitmap cannot be written; the one from before is kept");
        }
    }

    /// The copy may hold something that nothing is known of.
    ///
    /// # Errors
    /// The host's: it may be believed again later.
    pub fn forget(&self) -> io::Result<()> {
        self.lock().forget()
    }

    /// What was to be written is written.
    pub fn rest(&self) {
        self.lock().rest();
    }

    /// The copy is at rest, and written by nobody from now on.
    pub fn close(&self) {
        self.lock().close();
    }

    /// The oldest base. Whoever marks something now may wait for the file, for ever if that is frozen; he is not waited
    /// for, and what was seen last is told.
    pub fn oldest(&self) -> Option<BaseId> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(state) = self.state.try_lock() {
            *seen = state.bases.first().map(|base| base.id);
        }
        *seen
    }

    /// What the other side is told.
    pub fn bases(&self, disk: u8) -> DiskBases {
        self.lock().encode(disk, self.bytes)
    }

    /// The newest base in common with a copy that has these, and the regions in which the two may differ; `None` when
    /// there is none.
    pub fn common(&self, theirs: &DiskBases) -> Option<(BaseId, Regions)> {
        let state = self.lock();
        state.bases.iter().rev().find_map(|ours| {
            let same = |base: &&DiskBase| base_id(base) == ours.id;
            let theirs = theirs.bases.iter().find(same)?;
            let mut regions = Regions::of_map(self.bytes, theirs.map.clone())?;
            regions.extend(&ours.regions);
            Some((ours.id, regions))
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
