//! What the threads of a seed and the link thread tell each other.

use ftlog::{DiskBases, DiskDigests, FrameKind, PageDigests};
use machine::transfer::Transfer;
use protocol::seeding::{Degree, Progress};

/// What such a thread says.
pub enum Letter {
    /// What it does, for people.
    Notice(String),
    /// A frame for the secondary.
    Frame(FrameKind, Vec<u8>),
    /// The copies of the disks are equal but for what was written since they were compared. It is done.
    Compared,
    /// How far the memory is.
    Progress(Progress),
    /// The guest is to be slowed so much.
    Slow(Degree),
    /// The rest is for the stop. It is done.
    Nearly(Box<Transfer>),
    /// It cannot be done. It is done.
    Failed(String),
}

/// What such a thread hears of the secondary.
pub enum Heard {
    /// Where a copy is known.
    Bases(DiskBases),
    /// What some blocks hold.
    Digests(DiskDigests),
    /// What some pages of its memory hold already.
    Pages(PageDigests),
    /// It has received this round.
    Round(u64),
}
