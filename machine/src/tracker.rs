//! Which pages of RAM were written: by the guest, of which KVM keeps a log, and by the monitor, which it keeps itself.
//!
//! ```text
//!  guest ─► KVM's log ───────────────────┐ look           take: protect a few pages again,
//!  devices, resets ─► the bits of RAM ───┴──────► pending ──────► then read them
//! ```
//!
//! A page is taken before it is read: what is written to it from then on is pending again. So a page may be read while
//! the guest writes it, as long as it is read again later, with the guest out of it.

use std::sync::atomic::Ordering;

use crate::{
    kvm::{KvmError, Vm},
    memory::{PageSet, WORD_BYTES, pages_of},
};

/// Times 64: the pages that are taken at a time where nobody waits for some of them.
pub const MANY: usize = 1 << 14;

/// Keeps account until it is dropped.
pub struct Tracker {
    vm: Vm,
    pending: PageSet,
    /// Where to take from next: below it nothing is pending.
    next: u64,
}

impl Tracker {
    /// Begins, with all of RAM pending.
    pub(crate) fn begin(vm: Vm) -> Result<Self, KvmError> {
        if vm.is_tracked().swap(true, Ordering::AcqRel) {
            return Err(KvmError::Tracked);
        }
        // From here on a drop ends it.
        let tracker = Self { pending: PageSet::all(vm.memory()), vm, next: 0 };
        tracker.vm.log_writes(true)?;
        // What the monitor has written before is among all.
        tracker.vm.memory().take_written().for_each(drop);
        Ok(tracker)
    }

    /// Learns what was written since it was last asked; how many pages are pending now.
    ///
    /// # Errors
    /// KVM's; then nothing has changed.
    pub fn look(&mut self) -> Result<u64, KvmError> {
        let logged = self.vm.written_pages()?;
        for (range, words) in logged.iter().enumerate() {
            self.pending.unite(range, words);
        }
        for (range, words) in self.vm.memory().take_written().enumerate() {
            self.pending.unite(range, &words);
        }
        self.next = 0;
        Ok(self.pending.count())
    }

    /// Takes some pages out of what is pending, in ascending order, from at most `most` times 64 that follow each other;
    /// none when nothing is pending. They are to be read now.
    ///
    /// # Errors
    /// KVM's; then they are still pending.
    pub fn take(&mut self, most: usize) -> Result<Vec<u64>, KvmError> {
        let Some((range, gpa, words)) = self.pending.run(self.next, most) else { return Ok(Vec::new()) };
        let words = words.to_vec();
        self.vm.protect_pages(range, gpa, &words)?;
        self.pending.remove(range, gpa, &words);
        self.next = gpa + words.len() as u64 * WORD_BYTES;
        let addresses = (gpa..).step_by(WORD_BYTES as usize);
        Ok(words.iter().zip(addresses).flat_map(|(word, gpa)| pages_of(*word, gpa)).collect())
    }

    /// Takes all out: nobody will read them.
    ///
    /// # Errors
    /// KVM's; then some are still pending.
    pub fn forget(&mut self) -> Result<(), KvmError> {
        while let Some((range, gpa, words)) = self.pending.run(0, MANY) {
            let words = words.to_vec();
            self.vm.protect_pages(range, gpa, &words)?;
            self.pending.remove(range, gpa, &words);
        }
        Ok(())
    }

    /// All are pending again.
    pub fn begin_again(&mut self) {
        self.pending = PageSet::all(self.vm.memory());
    }

    /// Pages that were taken and not read are pending again.
    pub fn give_back(&mut self, pages: impl Iterator<Item = u64>) {
        pages.for_each(|gpa| self.pending.insert(gpa));
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        if let Err(error) = self.vm.log_writes(false) {
            tracing::warn!(%error, "KVM goes on noting which pages the guest writes, which slows it");
        }
        self.vm.is_tracked().store(false, Ordering::Release);
    }
}
