//! How far the comparison of two copies is, for `status`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ftlog::DISK_BLOCK;

use crate::control::ResyncReport;

/// Of one disk.
#[derive(Debug, Default)]
pub struct Progress {
    active: AtomicBool,
    total: AtomicU64,
    compared: AtomicU64,
    moved: AtomicU64,
}

impl Progress {
    /// It begins, and so many blocks are to be compared.
    pub fn begin(&self, blocks: u64) {
        self.total.store(blocks, Ordering::Release);
        self.compared.store(0, Ordering::Release);
        self.moved.store(0, Ordering::Release);
        self.active.store(true, Ordering::Release);
    }

    /// Blocks more were compared.
    pub fn compared(&self, blocks: u64) {
        self.compared.fetch_add(blocks, Ordering::AcqRel);
    }

    /// One block more was sent (primary) or written (secondary).
    pub fn moved(&self) {
        self.moved.fetch_add(1, Ordering::AcqRel);
    }

    /// It is over.
    pub fn end(&self) {
        self.active.store(false, Ordering::Release);
    }

    /// What `status` tells, while it goes on.
    pub fn report(&self, bytes: u64) -> Option<ResyncReport> {
        let bytes_of = |blocks: &AtomicU64| blocks.load(Ordering::Acquire) * DISK_BLOCK as u64;
        let report = ResyncReport {
            compared_bytes: bytes_of(&self.compared).min(bytes),
            total_bytes: bytes_of(&self.total).min(bytes),
            moved_bytes: bytes_of(&self.moved),
        };
        self.active.load(Ordering::Acquire).then_some(report)
    }
}
