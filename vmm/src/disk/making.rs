//! Making a copy equal to another one, so that it can be told at every moment what it is.
//!
//! ```text
//!  before the first block   journal made, stamp: half        (a crash before: the old copy, with its old stamp)
//!  each batch               old blocks into the journal, safe; then the new ones into the copy
//!                                                            (a crash: half; the journal brings the old copy back)
//!  the copy is whole, safe  stamp: follower; journal removed (a crash after: the new copy)
//! ```

use std::{io, path::PathBuf};

use ftlog::{DISK_BLOCK, DiskLine, DiskMode};

use super::{
    Blocks, DiskCopy,
    stamp::{Before, Mark, Place, Stamp, StampState},
    undo::Undo,
};

/// A copy that is made equal to the other side's.
pub struct Making {
    /// The copy.
    pub copy: DiskCopy,
    place: Option<Place>,
    path: PathBuf,
    mark: Mark,
    line: DiskLine,
    begun: bool,
    undo: Option<Undo>,
}

impl Making {
    /// Nothing of it is overwritten yet. `mark` says of which VM and generation the other side's copy is, `line` what
    /// is known of it. Without a place it has no stamp.
    pub fn new(copy: DiskCopy, place: Option<Place>, path: PathBuf, mark: Mark, line: DiskLine) -> Self {
        Self { copy, place, path, mark, line, begun: false, undo: None }
    }

    /// Overwrites blocks; `warn` hears what the operator should know.
    ///
    /// # Errors
    /// The host's. The copy says that it is half made.
    pub fn write(&mut self, batch: &[(u64, &[u8])], warn: &dyn Fn(String)) -> io::Result<()> {
        if !self.begun {
            self.begin(warn)?;
            self.begun = true;
        }
        if let Err(error) = self.save(batch) {
            self.give_undo_up(&error, warn)?;
        }
        let ranges = batch.iter().map(|(block, data)| {
            let start = block * DISK_BLOCK as u64;
            start..start + data.len() as u64
        });
        self.copy.intents.mark(ranges)?;
        for (block, data) in batch {
            self.copy.blocks.write(*block, data)?;
            self.copy.progress.moved();
        }
        self.copy.intents.rest();
        Ok(())
    }

    /// The copy is what the other side's is, and safe.
    ///
    /// # Errors
    /// The host's.
    pub fn finish(self) -> io::Result<()> {
        let Some(place) = self.place.as_ref() else { return Ok(()) };
        let mark = Mark { state: StampState::Follower, ..self.mark.clone() };
        place.write(&self.stamp(&mark))?;
        place.remove_undo()
    }

    fn begin(&mut self, warn: &dyn Fn(String)) -> io::Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        let bytes = self.copy.blocks.bytes();
        let (stamp, undo) = match place.read()? {
            Some(Stamp { before: Some(Before { stamp, undo }), .. }) => {
                // What it is now is worth nothing; the copy from before that is.
                (stamp, undo.map(|id| Undo::resume(place, &id, bytes)))
            }
            Some(stamp) => (Some(Box::new(stamp)), Some(Undo::create(place, bytes))),
            None => {
                warn(format!("{} is overwritten: no stamp, {bytes} bytes", self.path.display()));
                (None, Some(Undo::create(place, bytes)))
            }
        };
        let undo = undo.transpose();
        if let Err(error) = &undo {
            warn(self.cannot_be_undone(error));
        }
        self.undo = undo.ok().flatten();
        let before = Before { stamp, undo: self.undo.as_ref().map(Undo::id) };
        place.write(&self.half(before))
    }

    fn save(&mut self, batch: &[(u64, &[u8])]) -> io::Result<()> {
        let Some(undo) = &mut self.undo else { return Ok(()) };
        for (block, _) in batch {
            if !undo.has(*block) {
                undo.save(*block, self.copy.blocks.read(*block)?);
            }
        }
        undo.flush()
    }

    /// A VM without protection is worse than a copy that cannot be brought back, so the copying goes on; but the stamp
    /// says so first.
    fn give_undo_up(&mut self, error: &io::Error, warn: &dyn Fn(String)) -> io::Result<()> {
        self.undo = None;
        let Some(place) = &self.place else { return Ok(()) };
        warn(self.cannot_be_undone(error));
        // It also gives the space back, which the new stamp needs.
        place.remove_undo()?;
        let stamp = place.read()?.and_then(|stamp| stamp.before).and_then(|before| before.stamp);
        place.write(&self.half(Before { stamp, undo: None }))
    }

    fn cannot_be_undone(&self, error: &io::Error) -> String {
        format!(
            "{} is overwritten, and what it held before cannot be brought back: the undo journal: {error}",
            self.path.display()
        )
    }

    fn half(&self, before: Before) -> Stamp {
        let mark = Mark { state: StampState::Half, ..self.mark.clone() };
        Stamp { before: Some(before), ..self.stamp(&mark) }
    }

    fn stamp(&self, mark: &Mark) -> Stamp {
        let DiskLine { id, lacks } = self.line;
        let bytes = self.copy.blocks.bytes();
        let stamp = Stamp::new(mark, id.unwrap_or_default(), self.copy.disk, bytes, DiskMode::Replicated);
        Stamp { lacks: lacks.map(|(first, last)| (first.0, last.0)), ..stamp }
    }
}

/// Brings back what a half made copy was before; gives its stamp of then and the number of blocks that were written.
///
/// # Errors
/// That it is not half made or cannot be brought back, and the host's.
pub fn restore(place: &Place, blocks: &Blocks) -> io::Result<(Option<Stamp>, u64)> {
    let stamp = place.read()?;
    let Some(Before { stamp, undo }) = stamp.and_then(|stamp| stamp.before) else {
        return Err(io::Error::other("the copy is not half made; there is nothing to bring back"));
    };
    let id =
        undo.ok_or_else(|| io::Error::other("the copy from before is gone: there is no undo journal"))?;
    // What is written here is not marked.
    place.remove_intents()?;
    let count = super::undo::bring_back(place, &id, blocks.bytes(), blocks)?;
    match &stamp {
        Some(stamp) => place.write(stamp)?,
        None => place.remove()?,
    }
    place.remove_undo()?;
    Ok((stamp.map(|stamp| *stamp), count))
}

#[cfg(test)]
mod tests;
