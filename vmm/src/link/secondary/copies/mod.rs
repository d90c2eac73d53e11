//! Before the seed: this side's copies of the replicated disks are made equal to the primary's.
//!
//! One thread tells what the copies hold, another writes what the primary sends; this is the link thread's end of both.
//! A session that is given up is rid of them at once: they end when the host lets them, and those of the next session
//! wait for that.

mod digests;
mod writer;

use std::{io, os::fd::BorrowedFd};

use anyhow::{Context, ensure};
use crossbeam_channel::{Sender, bounded, unbounded};
use ftlog::{DiskBlock, DiskLine, DiskRegions, Frame, FrameKind};
use protocol::secondary::follower::Work;

pub use self::digests::Letter;
use self::{
    digests::Digests,
    writer::{Block, Queue, Writer},
};
use super::messages::Report;
use crate::{
    control::Board,
    disk::{DiskCopy, Disks, Regions, stamp::Mark},
    link::mailbox::{Letters, Mailbox, mailbox_of},
};

/// Frames of digests that may wait for the connection.
const DIGESTS_WAITING: usize = 16;

/// The link thread's end. When it goes before [`Copies::finish`], no more is written than is under way.
pub struct Copies {
    /// What the thread that reads the copies says.
    pub letters: Letters<Letter>,
    /// What each block that may come is checked against: disk, read-only, blocks.
    shapes: Vec<DiskCopy>,
    /// Whose regions were told, for the thread that reads the copies.
    regions: Sender<Regions>,
    told: usize,
    queue: Queue,
    finishing: bool,
}

impl Copies {
    /// Starts reading the copies, and waits for what is to be written to them; `None` when there are none. `mark` and
    /// `lines` say of what they will be copies. `reports` hears of room for more and how it ends, `board` of what cannot
    /// be undone.
    pub fn start(
        disks: &Disks,
        mark: &Mark,
        lines: &[DiskLine],
        reports: Mailbox<Report>,
        board: Board,
    ) -> io::Result<Option<Self>> {
        let shapes = disks.copies()?;
        if shapes.is_empty() {
            return Ok(None);
        }
        let (mailbox, letters) = mailbox_of(DIGESTS_WAITING)?;
        let (regions, chosen) = unbounded();
        let (begin, begun) = bounded(1);
        let (copies, made) = (disks.copies()?, disks.makings(mark, lines)?);
        Digests { copies, begun, chosen, mailbox }.start()?;
        let queue = Writer::start(made, disks.comparison(), begin, reports, board)?;
        Ok(Some(Self { letters, shapes, regions, told: 0, queue, finishing: false }))
    }

    /// True while no more blocks should be received.
    pub fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// How the writing goes.
    pub fn work(&self) -> Work {
        Work { busy: self.finishing || self.is_full(), done: self.queue.written() }
    }

    /// What to poll for reading.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.letters.descriptor()
    }

    /// Takes what the primary says of the copies.
    pub fn hear(&mut self, frame: Frame) -> anyhow::Result<()> {
        match frame.kind {
            FrameKind::DiskRegions => self.hear_regions(&frame),
            _ => self.hear_block(frame),
        }
    }

    /// No more blocks come.
    pub fn finish(&mut self) {
        self.finishing = true;
        self.queue.push(Block::Last);
    }

    /// The regions of each disk come once, in the order of the disks.
    fn hear_regions(&mut self, frame: &Frame) -> anyhow::Result<()> {
        let DiskRegions { disk, map } = DiskRegions::decode(&frame.body)?;
        let copy = self.shapes.get(self.told).filter(|copy| copy.disk == disk);
        let copy = copy.with_context(|| format!("regions of disk {disk}, which are not expected"))?;
        let regions = Regions::of_map(copy.blocks.bytes(), map);
        let regions = regions.with_context(|| format!("regions of disk {disk} of another size"))?;
        self.told += 1;
        // Nobody takes them when a copy cannot be read, which is told by a letter.
        let _ = self.regions.send(regions);
        Ok(())
    }

    fn hear_block(&self, frame: Frame) -> anyhow::Result<()> {
        let DiskBlock { disk, block, data } = DiskBlock::decode(&frame.body)?;
        let copy = self.shapes.iter().find(|copy| copy.disk == disk && !copy.readonly);
        let copy = copy.with_context(|| format!("a block of disk {disk}, which is not one to be copied"))?;
        ensure!(
            copy.blocks.len_of(block) == data.len(),
            "block {block} of disk {disk} with {} bytes",
            data.len()
        );
        self.queue.push(Block::Body(frame.body));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
