//! Before a secondary is seeded: its copies of the replicated disks are made equal to this side's.
//!
//! ```text
//!  secondary                                     primary
//!     ├── DiskBases: where its copies are known ───►│ looks for a base in common, of each disk
//!     │◄── DiskRegions: what may differ since ──────┤ (all of it where there is none)
//!     ├── DiskDigests: what each block holds ──────►│ compares with its own, while the VM runs and writes
//!     │◄── DiskBlock … ─────────────────────────────┤ what differs; then what was written meanwhile, round by round
//!     │                                             │ pause: the last blocks, with the seed
//! ```

mod compare;

use std::{io, os::fd::BorrowedFd, thread};

use compare::compare_all;
pub use compare::send_changes;
use crossbeam_channel::{Sender, bounded};
use ftlog::{DiskBases, DiskDigests, Frame, FrameKind, Generation, Message, Refuse};
use protocol::{
    LossReason,
    primary::{Link, PeerEvent},
};

use super::thread::LinkThread;
use crate::{
    disk::Disks,
    link::mailbox::{Letters, mailbox_of},
};

/// Frames of the secondary that may wait for their comparison.
const HEARD_WAITING: usize = 64;
/// Blocks that may wait for the connection.
const BLOCKS_WAITING: usize = 16;
/// Above this much unsent no more blocks are taken, bytes.
const MAX_UNSENT: usize = 1 << 20;

/// What the comparing thread says.
pub enum Letter {
    /// What is compared of a disk, for people, and the body of the `DiskRegions` frame.
    Regions(String, Vec<u8>),
    /// The body of a `DiskBlock` frame.
    Block(Vec<u8>),
    /// The copies are equal but for what was written lately.
    Nearly,
    /// It cannot be done.
    Failed(String),
}

/// What the comparing thread hears of the secondary.
pub enum Heard {
    /// Where a copy is known.
    Bases(DiskBases),
    /// What some blocks hold.
    Digests(DiskDigests),
}

/// The comparison of one session.
pub struct Resync {
    /// With whom.
    pub link: Link,
    /// Of the seed that follows.
    pub generation: Generation,
    /// What the comparing thread says.
    pub letters: Letters<Letter>,
    heard: Sender<Heard>,
}

impl Resync {
    /// Starts comparing; `None` when there is nothing to compare.
    pub fn start(link: Link, generation: Generation, disks: &Disks) -> io::Result<Option<Self>> {
        let copies = disks.copies()?;
        if copies.is_empty() {
            return Ok(None);
        }
        let (heard, received) = bounded(HEARD_WAITING);
        let (mailbox, letters) = mailbox_of(BLOCKS_WAITING)?;
        let turn = disks.comparison();
        thread::Builder::new()
            .name("resync".into())
            .spawn(move || compare_all(&turn, copies, &received, &mailbox))?;
        Ok(Some(Self { link, generation, letters, heard }))
    }

    /// True while no more fits of what the secondary says.
    pub fn is_full(&self) -> bool {
        self.heard.is_full()
    }

    /// What to poll for reading.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.letters.descriptor()
    }

    /// Takes what the secondary says of its copies; whether it comes in order, the comparing thread sees.
    pub fn hear(&self, frame: &Frame) -> Result<(), LossReason> {
        let heard = match frame.kind {
            FrameKind::DiskBases => DiskBases::decode(&frame.body).map(Heard::Bases),
            _ => DiskDigests::decode(&frame.body).map(Heard::Digests),
        };
        let heard = heard.map_err(|_| LossReason::Damaged)?;
        // Nobody takes it when the comparison has come to an end, which is told by a letter.
        let _ = self.heard.try_send(heard);
        Ok(())
    }
}

impl LinkThread {
    /// Compares and copies, and pauses the VM for its seed when next to nothing is left to be copied.
    pub(super) fn start_seed(&mut self, link: Link) {
        let generation = self.core.generation();
        match Resync::start(link, generation, &self.site.outlets.disks) {
            Ok(Some(resync)) => self.resync = Some(resync),
            Ok(None) => self.orders.seed(link, generation),
            Err(error) => self.give_seed_up(link, &format!("the disks cannot be compared: {error}")),
        }
    }

    /// More digests wait than are to be kept: the secondary is not heard, and that is not its fault.
    pub(super) fn is_comparing_slowly(&self) -> bool {
        self.resync.as_ref().is_some_and(Resync::is_full)
    }

    /// The comparison, unless there is more for the connection than it takes.
    pub(super) fn resync_to_hear(&self) -> Option<&Resync> {
        let choked = self.stream.as_ref().is_some_and(|stream| stream.connection.unsent() > MAX_UNSENT);
        self.resync.as_ref().filter(|_| !choked)
    }

    pub(super) fn read_resync(&mut self) {
        if let Some(resync) = &self.resync {
            resync.letters.acknowledge();
        }
        for _ in 0..BLOCKS_WAITING {
            let Some(letter) = self.resync_to_hear().and_then(|resync| resync.letters.next()) else { break };
            self.read_comparison(letter);
        }
        if let Some(resync) = self.resync.as_ref().filter(|resync| !resync.letters.is_empty()) {
            // There is more: come back after a look at the connection.
            resync.letters.wake();
        }
    }

    fn read_comparison(&mut self, letter: Letter) {
        match letter {
            Letter::Regions(what, body) => {
                self.site.board.notice(what);
                self.send_now(FrameKind::DiskRegions, &body);
            }
            Letter::Block(body) => self.send_now(FrameKind::DiskBlock, &body),
            Letter::Nearly => {
                if let Some(Resync { link, generation, .. }) = self.resync.take() {
                    self.orders.seed(link, generation);
                }
            }
            Letter::Failed(reason) => {
                if let Some(Resync { link, .. }) = self.resync.take() {
                    self.give_seed_up(link, &reason);
                }
            }
        }
    }

    fn send_now(&mut self, kind: FrameKind, body: &[u8]) {
        if let Some(stream) = &mut self.stream {
            stream.connection.send(kind, body);
        }
        self.flush();
    }

    /// The secondary cannot be seeded, and is told why.
    pub(super) fn give_seed_up(&mut self, link: Link, reason: &str) {
        self.note_loss(reason.to_owned());
        if let (Some(stream), Ok(body)) = (&mut self.stream, Refuse::new(reason).encode()) {
            stream.connection.send(FrameKind::Refuse, &body);
        }
        self.tell_peer_event(link, PeerEvent::Lost(LossReason::Unwanted));
    }
}

#[cfg(test)]
mod tests;
