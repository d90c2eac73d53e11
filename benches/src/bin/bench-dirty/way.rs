//! The two ways in which KVM tells which pages were written (Linux Documentation/virt/kvm/api.rst, sections 4.8, 4.143, 7.16
//! and 8.29).

use anyhow::Context;
use kvm_bindings::{
    KVM_CAP_DIRTY_LOG_RING, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, kvm_dirty_gfn, kvm_enable_cap,
};
use kvm_ioctls::{Kvm, VmFd};

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// As many as KVM allows in a ring.
pub const ENTRIES: usize = 1 << 16;

/// How it is learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A bit for each page, all set at first, that are cleared by hand.
    Bitmap,
    /// A ring of page numbers in memory shared with KVM.
    Ring,
}

impl Way {
    /// As the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bitmap => "bitmap, cleared by hand",
            Self::Ring => "ring",
        }
    }

    fn capability(self) -> kvm_enable_cap {
        let (cap, argument) = match self {
            // By hand, and initially set.
            Self::Bitmap => (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 3),
            Self::Ring => (KVM_CAP_DIRTY_LOG_RING, (ENTRIES * size_of::<kvm_dirty_gfn>()) as u64),
        };
        kvm_enable_cap { cap, args: [argument, 0, 0, 0], ..kvm_enable_cap::default() }
    }

    /// Whether KVM has it.
    pub fn is_offered(self) -> anyhow::Result<bool> {
        let offered = Kvm::new()?.check_extension_raw(self.capability().cap.into());
        Ok(offered as i64 >= self.capability().args[0] as i64)
    }

    /// Chooses it for a VM without vCPUs.
    pub fn set_up(self, vm: &VmFd) -> anyhow::Result<()> {
        vm.enable_cap(&self.capability()).with_context(|| format!("KVM refuses the {}", self.name()))
    }
}
