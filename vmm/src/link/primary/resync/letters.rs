//! What the comparing thread and the link thread tell each other.

use ftlog::{DiskBases, DiskDigests};

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
