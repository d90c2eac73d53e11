//! Which VM this is, and who may run it: what outlives every process.

mod name;
mod presence;
mod random;
mod start;

use ftlog::{Generation, Manifest, Shape, VmId};
use machine::kvm::cpuid;

use crate::disk::stamp::{Mark, StampState};

pub use name::VmName;
pub use presence::Presence;
pub use random::random;
pub use start::{Copy, CopyState, Decision, Known, Peer, Permission, decide};

/// What stays the same for a VM's whole life, whoever runs it.
#[derive(Clone, Debug)]
pub struct VmIdentity {
    /// Its id. Its name is in its shape.
    pub vm: VmId,
    /// Its parts.
    pub shape: Shape,
    /// Unix time at power-on, ns.
    pub wall_base_ns: u64,
}

impl VmIdentity {
    /// What a seed of it in this generation begins with.
    #[must_use]
    pub fn manifest(&self, generation: Generation, digest_key: u64) -> Manifest {
        Manifest {
            vm: self.vm,
            generation,
            shape: self.shape.clone(),
            cpu_table: cpuid::digest(&self.shape.cpu),
            wall_base_ns: self.wall_base_ns,
            digest_key,
        }
    }

    /// What the stamps of its disks say when they go this far.
    #[must_use]
    pub fn mark(&self, generation: Generation, state: StampState) -> Mark {
        Mark { vm: self.vm, name: self.shape.name.clone(), generation, state }
    }
}
