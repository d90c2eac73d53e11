//! The guest's disks as the host keeps them: raw files or block devices.
//!
//! ```text
//!                     live side                                            secondary
//!  device ─► Disks::admit ─► replicated, and every read ─► engine   device ─► Disks::copy ─► engine (replicated)
//!                └─► shared: writes ─► commit gate ─► fence ─► engine      (reads and shared disks: nothing)
//!  engine ─► Answers ─► inbox ─► DiskDone, an event of the log      engine ─► Answers ─► awaited before the DiskDone
//!                                                                                        of the log is applied
//! ```
//!
//! Each disk has a thread with an io_uring: the [`Engine`]. It carries out requests at the same time, but those that
//! overlap in the order in which they came, so that two copies which are given the same requests end up equal.
//!
//! *Replicated*: each side has a copy of its own. The live side writes at once; should it be lost with a write that the
//! log does not have, its copy is of no more use and is made equal again before it is one of a pair again.
//! *Shared*: both sides reach one file, and only the live one writes it. So a write has to wait for its log to be
//! safe, it is on stable storage before it is answered (the other side cannot see this host's cache), and there is a
//! [`Fence`](protocol::fence::Fence) before the file for a side that does not know yet that it is the live one no more.
//!
//! The data of all requests together is bounded (`held.rs`), in bytes and for the VM as a whole.
//!
//! Beside each copy there is a [`stamp`] that says which VM's it is and how far it goes, and while it is
//! [made](Making) equal to another one, a journal of what it was before. The [write-intent bitmap](BaseId) says where
//! it may differ from a copy that was equal to it once.

mod answers;
mod bases;
mod blocks;
mod changes;
mod copy;
mod device;
mod engine;
mod error;
mod file;
mod held;
mod intents;
mod job;
mod lock;
mod making;
mod member;
mod option;
mod pairing;
mod progress;
mod requests;
mod ring;
mod set;
pub mod stamp;
mod standing;
mod undo;
mod vitals;
mod worker;

pub use answers::Answers;
pub use blocks::Blocks;
pub use changes::Changes;
pub use copy::DiskCopy;
pub use engine::Engine;
pub use error::DiskError;
pub use file::Backing;
pub use intents::{BaseId, Intents, Regions};
pub use lock::Use;
pub use making::{Making, restore};
pub use option::DiskOption;
pub use progress::Progress;
pub use ring::probe;
pub use set::Disks;
pub use vitals::Vitals;

use devices::{DiskConfig, DiskOperation};
use ftlog::DiskShape;

const _: () = assert!(devices::MAX_DISKS == ftlog::MAX_DISKS);

/// Bytes in a sector.
pub const SECTOR: u64 = 512;

/// The disks as the devices know them. The serial numbers say which disk is which, the same on both sides.
pub fn configs(shapes: &[DiskShape]) -> Vec<DiskConfig> {
    let config = |(index, shape): (usize, &DiskShape)| DiskConfig {
        sectors: shape.sectors,
        readonly: shape.readonly,
        id: format!("ftvmm-disk-{index}"),
    };
    shapes.iter().enumerate().map(config).collect()
}

/// Whether a request changes what is on the disk, or when it is safe there.
pub fn changes_disk(operation: &DiskOperation) -> bool {
    !matches!(operation, DiskOperation::Read { .. })
}

#[cfg(test)]
mod tests;
