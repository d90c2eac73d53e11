//! A side's copy of a disk.

use std::sync::Arc;

use super::{Blocks, Changes, Intents, Progress};

/// This side's copy of a replicated disk.
pub struct DiskCopy {
    /// Which disk, in the order of the shape.
    pub disk: u8,
    /// The guest cannot write it, and so nobody does.
    pub readonly: bool,
    /// What it holds.
    pub blocks: Blocks,
    /// Blocks that were written since the marks were last taken.
    pub changes: Arc<Changes>,
    /// What may differ from another copy that was equal to it once.
    pub intents: Arc<Intents>,
    /// For `status`.
    pub progress: Arc<Progress>,
}
