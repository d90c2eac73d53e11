//! The thread that writes the copies.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, unbounded};
use ftlog::DiskBlock;

use super::super::messages::Report;
use crate::{control::Board, disk::Making, link::mailbox::Mailbox};

/// Blocks that may wait to be written; beyond that the primary is not heard.
const WAITING: usize = 64;
/// Blocks that are written at once, when so many wait: what they overwrite has to be safe before.
const BATCH: usize = 64;
/// How many blocks are written before they are made safe, so that little is left for the end: 64 MiB.
const SAFE_AFTER: usize = 1024;

/// What the thread is given.
pub enum Block {
    /// The body of a `DiskBlock` frame.
    Body(Vec<u8>),
    /// There are no more.
    Last,
}

#[derive(Default)]
struct Count {
    waiting: AtomicUsize,
    written: AtomicU64,
    given_up: AtomicBool,
}

/// The way to the thread.
pub struct Queue {
    blocks: Sender<Block>,
    count: Arc<Count>,
}

impl Queue {
    /// Has a block written.
    pub fn push(&self, block: Block) {
        self.count.waiting.fetch_add(1, Ordering::AcqRel);
        // Nobody takes it when an earlier one could not be written, which is told by a report.
        let _ = self.blocks.send(block);
    }

    /// As much waits as is to be kept.
    pub fn is_full(&self) -> bool {
        self.count.waiting.load(Ordering::Acquire) >= WAITING
    }

    /// Anything that changes when something was written.
    pub fn written(&self) -> u64 {
        self.count.written.load(Ordering::Acquire)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.count.given_up.store(true, Ordering::Release);
    }
}

/// What the thread needs.
pub struct Writer {
    made: Vec<Making>,
    blocks: Receiver<Block>,
    count: Arc<Count>,
    reports: Mailbox<Report>,
    board: Board,
}

impl Writer {
    /// Starts the thread. Once it is alone with the copies, as the holder of `comparison`, it says `begin`.
    pub fn start(
        made: Vec<Making>,
        comparison: Arc<Mutex<()>>,
        begin: Sender<()>,
        reports: Mailbox<Report>,
        board: Board,
    ) -> io::Result<Queue> {
        let (sender, blocks) = unbounded();
        let count = Arc::<Count>::default();
        let queue = Queue { blocks: sender, count: count.clone() };
        let writer = Self { made, blocks, count, reports, board };
        thread::Builder::new().name("copy".into()).spawn(move || {
            // The one of a session that was given up may still be at it.
            let _alone = comparison.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = begin.send(());
            writer.run();
        })?;
        Ok(queue)
    }

    fn run(mut self) {
        let written = self.write_all();
        self.made.iter().for_each(|made| made.copy.progress.end());
        match written.and_then(|whole| if whole { self.finish() } else { Ok(()) }) {
            Ok(()) => {}
            Err(error) => drop(self.reports.send(Report::Unusable(format!("{error:#}")))),
        }
    }

    fn is_given_up(&self) -> bool {
        self.count.given_up.load(Ordering::Acquire)
    }

    /// Gives whether nothing is missing.
    fn write_all(&mut self) -> anyhow::Result<bool> {
        let mut unsafe_blocks = 0;
        while let Ok(first) = self.blocks.recv() {
            if self.is_given_up() {
                return Ok(false);
            }
            let batch: Vec<_> = [first].into_iter().chain(self.blocks.try_iter().take(BATCH - 1)).collect();
            let bodies = || {
                batch.iter().filter_map(|block| if let Block::Body(body) = block { Some(body) } else { None })
            };
            write(&mut self.made, bodies(), &self.board)?;
            unsafe_blocks += batch.len();
            let is_last = batch.iter().any(|block| matches!(block, Block::Last));
            if is_last || unsafe_blocks >= SAFE_AFTER {
                make_safe(&self.made)?;
                unsafe_blocks = 0;
            }
            self.note_written(batch.len());
            if is_last {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn note_written(&self, blocks: usize) {
        self.count.written.fetch_add(blocks as u64, Ordering::AcqRel);
        let before = self.count.waiting.fetch_sub(blocks, Ordering::AcqRel);
        if before >= WAITING && before - blocks < WAITING {
            self.reports.send(Report::Room);
        }
    }

    /// The copies are whole and safe, and say so.
    fn finish(&mut self) -> anyhow::Result<()> {
        if self.is_given_up() {
            return Ok(());
        }
        for made in self.made.drain(..) {
            made.finish()?;
        }
        self.reports.send(Report::Copied);
        Ok(())
    }
}

fn write<'a>(
    made: &mut [Making],
    bodies: impl Iterator<Item = &'a Vec<u8>>,
    board: &Board,
) -> anyhow::Result<()> {
    let blocks = bodies.map(|body| DiskBlock::decode(body)).collect::<Result<Vec<_>, _>>()?;
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
