//! Memory of the VM that was followed here last: when its primary comes back, what is still right in it need not be sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ftlog::VmId;
use machine::{BootPages, memory::Memory};

/// What is kept of a VM.
pub struct Kept {
    /// Its memory, whatever is in it now.
    pub memory: Memory,
    /// What was in it at power-on, if that has come.
    pub boot: Option<BootPages>,
}

/// Clones are the same place.
#[derive(Clone, Default)]
pub struct Attic(Arc<Mutex<Option<(VmId, Kept)>>>);

impl Attic {
    /// What was kept of this VM, if it has `mib` MiB. What was kept of another is gone: it is nobody's business here.
    pub fn take(&self, vm: VmId, mib: u32) -> Option<Kept> {
        let kept = self.lock().take();
        kept.filter(|(theirs, kept)| *theirs == vm && kept.memory.mib() == mib).map(|(_, kept)| kept)
    }

    /// Keeps it, whatever is written to the memory from now on.
    pub fn keep(&self, vm: VmId, kept: Kept) {
        *self.lock() = Some((vm, kept));
    }

    fn lock(&self) -> MutexGuard<'_, Option<(VmId, Kept)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_finds_its_own_memory_and_no_other_does() {
        let attic = Attic::default();
        let [ours, theirs] = [VmId([1; 16]), VmId([2; 16])];
        let keep = || attic.keep(ours, Kept { memory: Memory::new(4).unwrap(), boot: None });
        assert!(attic.take(ours, 4).is_none());
        keep();
        assert!(attic.take(ours, 4).is_some());
        assert!(attic.take(ours, 4).is_none(), "one has it");
        for (vm, mib) in [(theirs, 4), (ours, 5)] {
            keep();
            assert!(attic.take(vm, mib).is_none());
            assert!(attic.take(ours, 4).is_none(), "it is gone");
        }
    }
}
