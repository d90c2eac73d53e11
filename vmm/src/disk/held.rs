//! What the host keeps in memory for the guest's disk requests, counted in bytes over all disks of a VM.
//!
//! Counted are the data of writes until the file has them, and of reads from when they are asked until the guest is told
//! their answer or it is dropped: buffers that the kernel fills, and answers that wait in the inbox. A guest that does
//! not reset its disks stays below the bound by itself, as each [takes no more](devices::MAX_IN_FLIGHT_BYTES) than its
//! part. One that does, again and again, has requests in the host's hands that its disk has forgotten. Then
//!
//! - reads and writes to shared disks are refused: an I/O error, which is an event of the log as all answers are;
//! - writes to replicated disks, which the other side carries out too, are awaited by the thread of the vCPU.
//!
//! That wait cannot last for ever, because of what it does not depend on. It is for the data of replicated writes
//! alone, and these need nothing but the kernel: no commit gate, no fence, no acknowledgement, no guest that takes its
//! answers. What they may be behind, on a disk of their own, are earlier requests to the same range, of which the same
//! is true: a read has its room before it comes to the engine. The others are never waited for, so a gate that
//! stays closed or a guest that takes nothing costs errors of that guest, and not the host's memory.
//!
//! Beside [`MAX_HELD_BYTES`] there is the data of the one sync point at hand, before it is counted: at most what six
//! disks may have in flight, 13.5 MiB.

use std::collections::HashMap;

use devices::{DiskOperation, DiskRequest, MAX_DISKS, MAX_IN_FLIGHT_BYTES, MAX_REQUEST_BYTES};
use ftlog::DiskMode;

/// The most data of requests that is kept for a VM, bytes. Far more than keeps six files busy, and little beside the
/// memory of a guest that has six disks.
pub const MAX_HELD_BYTES: u64 = 64 << 20;
/// The part of each kind.
const SHARE: u64 = MAX_HELD_BYTES / KINDS as u64;
const KINDS: usize = 3;

/// No guest is refused anything that does not reset its disks.
const _: () = assert!(SHARE >= MAX_DISKS as u64 * (MAX_IN_FLIGHT_BYTES + MAX_REQUEST_BYTES as u64));

/// What must not wait for another: each kind has a share of its own.
#[derive(Clone, Copy)]
enum Kind {
    /// Until the guest takes the answer.
    Read,
    /// Until the file has it, which needs nothing else.
    Replicated,
    /// Until the file has it, which needs the secondary.
    Shared,
}

/// The requests that data are kept for.
#[derive(Default)]
pub struct Held {
    requests: HashMap<(u8, u64), (Kind, u64)>,
    bytes: [u64; KINDS],
}

impl Held {
    /// Counts a request to a disk kept like this; false when there is no room for it.
    pub fn take(&mut self, request: &DiskRequest, mode: DiskMode) -> bool {
        let (kind, bytes) = match (&request.operation, mode) {
            (DiskOperation::Read { len, .. }, _) => (Kind::Read, u64::from(*len)),
            (DiskOperation::Write { data, .. }, DiskMode::Replicated) => {
                (Kind::Replicated, data.len() as u64)
            }
            (DiskOperation::Write { data, .. }, DiskMode::Shared) => (Kind::Shared, data.len() as u64),
            _ => return true,
        };
        let has_room = self.bytes[kind as usize] + bytes <= SHARE;
        if has_room {
            self.give_back(request.slot, request.id);
            self.requests.insert((request.slot, request.id), (kind, bytes));
            self.bytes[kind as usize] += bytes;
        }
        has_room
    }

    /// Nothing is kept for this request any more.
    pub fn give_back(&mut self, slot: u8, id: u64) {
        if let Some((kind, bytes)) = self.requests.remove(&(slot, id)) {
            self.bytes[kind as usize] -= bytes;
        }
    }

    /// All of it, bytes.
    #[cfg(test)]
    pub fn bytes(&self) -> u64 {
        self.bytes.iter().sum()
    }
}

#[cfg(test)]
mod tests;
