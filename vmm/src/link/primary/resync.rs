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
mod letters;

use std::{io, thread};

use compare::compare_all;
pub use compare::send_changes;
use crossbeam_channel::{Sender, bounded};
use ftlog::{DiskBases, DiskDigests, Frame, FrameKind, Generation};
pub use letters::{Heard, Letter};
use protocol::{LossReason, primary::Link};

use crate::{
    disk::Disks,
    link::mailbox::{Letters, mailbox_of},
};

/// Frames of the secondary that may wait for their comparison.
const HEARD_WAITING: usize = 64;
/// Blocks that may wait for the connection.
pub const BLOCKS_WAITING: usize = 16;

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

#[cfg(test)]
mod tests;
