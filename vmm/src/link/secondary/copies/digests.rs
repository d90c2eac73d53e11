//! The thread that tells what the copies hold.

use std::{io, thread};

use crossbeam_channel::Receiver;
use ftlog::DiskDigests;

use crate::{
    disk::{DiskCopy, Regions},
    link::mailbox::Mailbox,
};

/// Digests in one frame: of 16 MiB of a disk.
const DIGESTS_AT_ONCE: u64 = 256;

/// What it says.
pub enum Letter {
    /// The body of a `DiskBases` frame.
    Bases(Vec<u8>),
    /// The body of a `DiskDigests` frame.
    Digests(Vec<u8>),
    /// A copy cannot be read.
    Failed(String),
}

/// What it needs.
pub struct Digests {
    pub copies: Vec<DiskCopy>,
    /// Nobody else writes the copies from then on.
    pub begun: Receiver<()>,
    pub chosen: Receiver<Regions>,
    pub mailbox: Mailbox<Letter>,
}

impl Digests {
    pub fn start(self) -> io::Result<()> {
        thread::Builder::new().name("digests".into()).spawn(move || self.run()).map(drop)
    }

    /// Tells where each copy is known, and then what the blocks hold that the primary wants to know of.
    fn run(mut self) {
        if self.begun.recv().is_err() {
            return;
        }
        for copy in &self.copies {
            copy.progress.begin(0);
            if !self.mailbox.send(Letter::Bases(copy.intents.bases(copy.disk).encode())) {
                return;
            }
        }
        for copy in &mut self.copies {
            let Ok(regions) = self.chosen.recv() else { return };
            copy.progress.begin(regions.blocks());
            if !read(copy, &regions, &self.mailbox) {
                return;
            }
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
