//! Why there is no machine, or no longer one.

use ftlog::Position;

use super::state::StateError;
use crate::{boot::BootError, kvm::KvmError, memory::MemoryError};

/// What ends a machine's execution against its will.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// KVM failed, or the guest did something that has no repeatable position.
    #[error("after {position}: {source}\nthe registers at that sync point were\n{registers}")]
    Kvm {
        /// The last sync point before it.
        position: Position,
        /// The registers there: KVM may have reset those that it has by now.
        registers: String,
        /// What happened.
        source: KvmError,
    },
    /// `HLT` with interrupts off: nothing can ever wake the guest.
    #[error("the guest halted with interrupts off at {position}\n{registers}")]
    DeadHalt {
        /// The sync point of the halt.
        position: Position,
        /// The registers there.
        registers: String,
    },
}

/// Why a machine cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// No memory of that size.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// No kernel.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// No KVM.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// The saved state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
}
