//! A base of a copy: a position, and what was written since.

use ftlog::{DiskBase, Generation, Position, VmId};

use super::Regions;

/// A position of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseId {
    /// The VM.
    pub vm: VmId,
    /// The generation.
    pub generation: Generation,
    /// The position in it.
    pub position: Position,
}

pub fn base_id(base: &DiskBase) -> BaseId {
    BaseId { vm: base.vm, generation: base.generation, position: base.position }
}

/// A position, and what was written since.
#[derive(Clone, Debug)]
pub struct Base {
    pub id: BaseId,
    /// Marked since.
    pub regions: Regions,
}
