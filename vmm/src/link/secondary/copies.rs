//! Before the seed: this side's copies of the replicated disks are made equal to the primary's.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, ensure};
use crossbeam_channel::{Receiver, Sender, unbounded};
use ftlog::{DiskBlock, DiskDigests, DiskLine, DiskRegions, Frame, FrameKind, Position};
use protocol::secondary::Event;

use super::{replica::Report, session::LinkThread};
use crate::{
    control::Board,
    disk::{DiskCopy, Disks, Making, Regions, stamp::Mark},
    link::mailbox::{Letters, Mailbox, mailbox_of},
};

/// Digests in one frame: of 16 MiB of a disk.
const DIGESTS_AT_ONCE: u64 = 256;
/// Frames of digests that may wait for the connection.
const DIGESTS_WAITING: usize = 16;
/// Above this much unsent no more digests are taken, bytes.
const MAX_UNSENT: usize = 1 << 20;
/// Blocks that may wait to be written; beyond that the primary is not heard.
const BLOCKS_WAITING: usize = 64;
/// Blocks that are written at once, when so many wait: what they overwrite has to be safe before.
const BATCH: usize = 64;
/// How many blocks are written before they are made safe, so that little is left for the end: 64 MiB.
const SAFE_AFTER: usize = 1024;

/// What the thread that reads the copies says.
pub enum Letter {
    /// The body of a `DiskBases` frame.
    Bases(Vec<u8>),
    /// The body of a `DiskDigests` frame.
    Digests(Vec<u8>),
    /// A copy cannot be read.
    Failed(String),
}

/// The link thread's end.
pub struct Copies {
    /// What the thread that reads the copies says.
    pub letters: Letters<Letter>,
    /// Length of each block that may come is checked against these: disk, read-only, blocks.
    shapes: Vec<DiskCopy>,
    /// Whose regions were told, for the thread that reads the copies.
    regions: Sender<Regions>,
    told: usize,
    blocks: Sender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
}

/// Ends when the link thread's end is gone and everything is written and safe, or cannot be. What it gives is to be
/// [finished](Making::finish) if nothing was missing.
pub type Writer = JoinHandle<anyhow::Result<Vec<Making>>>;

impl Copies {
    /// Starts reading the copies, and waits for what is to be written to them; `None` when there are none. `mark` and
    /// `lines` say of what they will be copies. `reports` hears of room for more, `board` of what cannot be undone.
    pub fn start(
        disks: &Disks,
        mark: &Mark,
        lines: &[DiskLine],
        reports: Mailbox<Report>,
        board: Board,
    ) -> io::Result<Option<(Self, Writer)>> {
        let read = disks.copies()?;
        if read.is_empty() {
            return Ok(None);
        }
        let (mailbox, letters) = mailbox_of(DIGESTS_WAITING)?;
        let (blocks, received) = unbounded();
        let (regions, chosen) = unbounded();
        let waiting = Arc::new(AtomicUsize::new(0));
        let (count, made) = (waiting.clone(), disks.makings(mark, lines)?);
        thread::Builder::new().name("digests".into()).spawn(move || read_all(read, &chosen, &mailbox))?;
        let write = move || write_all(made, &received, &count, &reports, &board);
        let writer = thread::Builder::new().name("copy".into()).spawn(write)?;
        let shapes = disks.copies()?;
        Ok(Some((Self { letters, shapes, regions, told: 0, blocks, waiting }, writer)))
    }

    /// True while no more blocks should be received.
    pub fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Acquire) >= BLOCKS_WAITING
    }

    /// What to poll for reading.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.letters.descriptor()
    }

    /// Takes what the primary says of the copies.
    pub fn hear(&mut self, frame: &Frame) -> anyhow::Result<()> {
        match frame.kind {
            FrameKind::DiskRegions => self.hear_regions(frame),
            _ => self.hear_block(frame),
        }
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

    fn hear_block(&self, frame: &Frame) -> anyhow::Result<()> {
        let DiskBlock { disk, block, data } = DiskBlock::decode(&frame.body)?;
        let copy = self.shapes.iter().find(|copy| copy.disk == disk && !copy.readonly);
        let copy = copy.with_context(|| format!("a block of disk {disk}, which is not one to be copied"))?;
        ensure!(
            copy.blocks.len_of(block) == data.len(),
            "block {block} of disk {disk} with {} bytes",
            data.len()
        );
        self.waiting.fetch_add(1, Ordering::AcqRel);
        // Nobody takes it when a block could not be written, which is told when the seed is complete.
        let _ = self.blocks.send(frame.body.clone());
        Ok(())
    }
}

impl LinkThread {
    /// More blocks wait to be written than are to be kept: the primary is not heard, and that is not its fault.
    pub(super) fn is_copying_slowly(&self) -> bool {
        self.copies.as_ref().is_some_and(Copies::is_full)
    }

    /// The copies, unless there is more for the connection than it takes.
    pub(super) fn copies_to_hear(&self) -> Option<&Copies> {
        let choked = self.connection.as_ref().is_none_or(|connection| connection.unsent() > MAX_UNSENT);
        self.copies.as_ref().filter(|_| !choked)
    }

    /// Tells the primary what the copies hold, as far as that is known.
    pub(super) fn send_digests(&mut self) {
        if let Some(copies) = &self.copies {
            copies.letters.acknowledge();
        }
        while let Some(letter) = self.copies_to_hear().and_then(|copies| copies.letters.next()) {
            match letter {
                Letter::Bases(body) => self.send(FrameKind::DiskBases, &body),
                Letter::Digests(body) => self.send(FrameKind::DiskDigests, &body),
                Letter::Failed(reason) => {
                    self.failure = Some(reason);
                    self.tell(Event::Failed { position: Position(0) });
                }
            }
            self.flush();
        }
        if let Some(copies) = self.copies.as_ref().filter(|copies| !copies.letters.is_empty()) {
            copies.letters.wake();
        }
    }
}

/// Tells where each copy is known, and then what the blocks hold that the primary wants to know of.
fn read_all(mut copies: Vec<DiskCopy>, chosen: &Receiver<Regions>, mailbox: &Mailbox<Letter>) {
    for copy in &copies {
        copy.progress.begin(0);
        if !mailbox.send(Letter::Bases(copy.intents.bases(copy.disk).encode())) {
            return;
        }
    }
    for copy in &mut copies {
        let Ok(regions) = chosen.recv() else { return };
        copy.progress.begin(regions.blocks());
        if !read(copy, &regions, mailbox) {
            return;
        }
    }
}

/// False when nobody listens any more.
fn read(copy: &mut DiskCopy, regions: &Regions, mailbox: &Mailbox<Letter>) -> bool {
    let mut next = regions.next_block(0);
    while let Some(first) = next {
        let through = first + regions.run(first, DIGESTS_AT_ONCE);
        let letter = match (first..through).map(|block| copy.blocks.digest(block)).collect() {
            Ok(digests) => Letter::Digests(DiskDigests { disk: copy.disk, first, digests }.encode()),
            Err(error) => Letter::Failed(format!("disk {} cannot be read: {error}", copy.disk)),
        };
        if !mailbox.send(letter) {
            return false;
        }
        copy.progress.compared(through - first);
        next = regions.next_block(through);
    }
    true
}

fn write_all(
    mut made: Vec<Making>,
    blocks: &Receiver<Vec<u8>>,
    waiting: &AtomicUsize,
    reports: &Mailbox<Report>,
    board: &Board,
) -> anyhow::Result<Vec<Making>> {
    let mut written = Ok(());
    let mut unsafe_blocks = 0;
    while let Ok(first) = blocks.recv() {
        let batch: Vec<_> = [first].into_iter().chain(blocks.try_iter().take(BATCH - 1)).collect();
        if written.is_ok() {
            written = write(&mut made, &batch, board);
            unsafe_blocks += batch.len();
        }
        if written.is_ok() && unsafe_blocks >= SAFE_AFTER {
            written = make_safe(&made);
            unsafe_blocks = 0;
        }
        let before = waiting.fetch_sub(batch.len(), Ordering::AcqRel);
        if before >= BLOCKS_WAITING && before - batch.len() < BLOCKS_WAITING {
            reports.send(Report::Room);
        }
    }
    let written = written.and_then(|()| make_safe(&made));
    made.iter().for_each(|made| made.copy.progress.end());
    written.map(|()| made)
}

fn write(made: &mut [Making], batch: &[Vec<u8>], board: &Board) -> anyhow::Result<()> {
    let blocks = batch.iter().map(|body| DiskBlock::decode(body)).collect::<Result<Vec<_>, _>>()?;
    for made in made {
        let disk = made.copy.disk;
        let ours = blocks.iter().filter(|block| block.disk == disk);
        let ours: Vec<_> = ours.map(|block| (block.block, block.data)).collect();
        if !ours.is_empty() {
            made.write(&ours, &|text| board.notice(text))
                .with_context(|| format!("this side's copy of disk {disk} cannot be written"))?;
        }
    }
    Ok(())
}

fn make_safe(made: &[Making]) -> anyhow::Result<()> {
    made.iter().filter(|made| !made.copy.readonly).try_for_each(|made| {
        made.copy
            .blocks
            .sync()
            .with_context(|| format!("this side's copy of disk {} cannot be written", made.copy.disk))
    })
}
