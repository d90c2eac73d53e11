//! The kernel-entry clock: how a guest that makes no exit of its own comes to a sync point, at the same instruction on
//! both sides.
//!
//! The guest counts its kernel entries (system calls, page faults and the like) in a variable of its own. An entry whose
//! count is the deadline that the monitor keeps in a page of the guest's, or any entry while that is 0, writes to a port, with
//! its count in RAX. That exit is a sync point as any other. Counts of exits need not rise: where a guest is forced to stop
//! within an entry, and takes an interrupt there, the entries of the handler come first.
//!
//! ```text
//!   live:    something waits ─► Doorbell::ring (deadline 0) ─► exit at the next entry ─► RAX is logged as `entries`
//!   replay:  `entries` of the step ─► Doorbell::set, before the stretch is run ─────────► exit at the same entry
//! ```
//!
//! What it does not reach is a program that computes for long without entering its kernel: that is [forced](super::forced) to
//! stop where it is. The replaying side runs no stretch before [`EntryClock::Logged`] has told it how that stretch ended.

use ftlog::RegisterFile;

use crate::{kvm::Exit, memory::ENTRY_CLOCK_PORT};

/// Index of RAX in a register file.
const RAX: usize = 0;

/// Who decides at which kernel entry a stretch ends, if none of the guest's other exits ends it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryClock {
    /// Whoever rings, at any time.
    Live,
    /// The log: at this count of entries, or at none.
    Logged(Option<u64>),
}

/// The guest's count of kernel entries, if an exit is that of the kernel-entry clock.
pub fn entries_at(exit: Exit, registers: &RegisterFile) -> Option<u64> {
    matches!(exit, Exit::PioWrite { port: ENTRY_CLOCK_PORT, .. }).then(|| registers[RAX])
}
