//! What comes before the stop of a seed, while the guest runs: the secondary's copies of the replicated disks are made
//! equal to this side's, and its memory nearly so.
//!
//! ```text
//!  secondary                                     primary
//!     ├── DiskBases: where its copies are known ───►│ looks for a base in common, of each disk
//!     │◄── DiskRegions: what may differ since ──────┤ (all of it where there is none)
//!     ├── DiskDigests: what each block holds ──────►│ compares with its own, while the VM runs and writes   disks
//!     │◄── DiskBlock … ─────────────────────────────┤ what differs
//!     │◄── Begin ───────────────────────────────────┤
//!     ├── PageDigests: what its memory holds ──────►│ of an earlier session of this VM, if there was one
//!     │◄── BootPages … ─────────────────────────────┤ unless it has them
//!     │◄── Pages … DiskBlock … SeedRound ───────────┤ RAM, and what was written to it and to the disks
//!     ├── SeedRound ───────────────────────────────►│ meanwhile, round by round                             memory
//!     │                                             │ stop: what is left                                   ../vcpu
//! ```
//!
//! Each of the two has a thread of its own, which is done when its last letter says so.

mod disks;
mod letters;
mod memory;
pub mod reading;

use std::{io, thread};

use crossbeam_channel::{Sender, bounded};
use disks::compare_all;
pub use disks::send_changes;
use ftlog::{DiskBases, DiskDigests, Frame, FrameKind, Generation, Manifest, PageDigests};
pub use letters::{Heard, Letter};
use machine::transfer::Source;
use protocol::{LossReason, primary::Link};

use crate::{
    disk::Disks,
    link::{
        Channel,
        mailbox::{Letters, mailbox_of},
    },
};

/// Frames of the secondary that may wait for their comparison.
const HEARD_WAITING: usize = 64;
/// Frames that may wait for the connection.
pub const FRAMES_WAITING: usize = 16;

/// What is done for one session before the stop.
pub struct Seeding {
    /// With whom.
    pub link: Link,
    /// Of the seed.
    pub generation: Generation,
    /// What the thread says.
    pub letters: Letters<Letter>,
    heard: Sender<Heard>,
}

impl Seeding {
    /// Starts comparing the disks; `None` when there is nothing to compare.
    pub fn of_disks(link: Link, generation: Generation, disks: &Disks) -> io::Result<Option<Self>> {
        let copies = disks.copies()?;
        if copies.is_empty() {
            return Ok(None);
        }
        let (heard, received) = bounded(HEARD_WAITING);
        let (mailbox, letters) = mailbox_of(FRAMES_WAITING)?;
        let turn = disks.comparison();
        let work = move || compare_all(&turn, copies, &received, &mailbox);
        thread::Builder::new().name("compare".into()).spawn(work)?;
        Ok(Some(Self { link, generation, letters, heard }))
    }

    /// Starts sending memory.
    pub fn of_memory(
        link: Link,
        disks: &Disks,
        source: Source,
        manifest: Manifest,
        channel: Channel,
    ) -> io::Result<Self> {
        let (generation, copies, turn) = (manifest.generation, disks.copies()?, disks.comparison());
        let (heard, received) = bounded(HEARD_WAITING);
        let (mailbox, letters) = mailbox_of(FRAMES_WAITING)?;
        let ends = memory::Ends { channel, heard: received, mailbox };
        let work = move || memory::send(&turn, &source, copies, &manifest, &ends);
        thread::Builder::new().name("seed".into()).spawn(work)?;
        Ok(Self { link, generation, letters, heard })
    }

    /// True while no more fits of what the secondary says.
    pub fn is_full(&self) -> bool {
        self.heard.is_full()
    }

    /// Takes what the secondary says to it; whether it comes in order, the thread sees.
    pub fn hear(&self, frame: &Frame) -> Result<(), LossReason> {
        let heard = match frame.kind {
            FrameKind::DiskBases => DiskBases::decode(&frame.body).ok().map(Heard::Bases),
            FrameKind::DiskDigests => DiskDigests::decode(&frame.body).ok().map(Heard::Digests),
            FrameKind::PageDigests => PageDigests::decode(&frame.body).ok().map(Heard::Pages),
            _ => frame.body.as_slice().try_into().ok().map(|number| Heard::Round(u64::from_le_bytes(number))),
        };
        // Nobody takes it when the thread has come to an end, which is told by a letter.
        let _ = self.heard.try_send(heard.ok_or(LossReason::Damaged)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
