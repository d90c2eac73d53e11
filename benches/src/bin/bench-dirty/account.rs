//! The two ways in which KVM tells which pages were written (Linux Documentation/virt/kvm/api.rst, sections 4.8, 4.143, 7.16
//! and 8.29).

use anyhow::{Context, ensure};
use kvm_bindings::{
    KVM_CAP_DIRTY_LOG_RING, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVMIO, kvm_clear_dirty_log,
    kvm_clear_dirty_log__bindgen_ty_1, kvm_dirty_gfn, kvm_enable_cap,
};
use kvm_ioctls::{Kvm, VmFd};
use vmm_sys_util::{ioctl::ioctl_with_ref, ioctl_iowr_nr};

use crate::{
    guest::{Guest, PAGE},
    ring::{ENTRIES, Ring},
};

ioctl_iowr_nr!(KVM_CLEAR_DIRTY_LOG, KVMIO, 0xc0, kvm_clear_dirty_log);

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

    /// What is learnt of `guest` in this way.
    pub fn account(self, guest: &Guest) -> anyhow::Result<Account> {
        Ok(match self {
            Self::Bitmap => Account::Bitmap,
            Self::Ring => Account::Ring(Ring::of(&guest.vcpu)?),
        })
    }
}

/// What is learnt of a guest.
pub enum Account {
    Bitmap,
    Ring(Ring),
}

impl Account {
    /// How many pages it has written since the last time; each is protected again.
    pub fn learn(&mut self, guest: &Guest) -> anyhow::Result<u64> {
        match self {
            Self::Bitmap => {
                let words = guest.vm.get_dirty_log(0, guest.bytes() as usize)?;
                clear(&guest.vm, guest.bytes() / PAGE, &words)?;
                Ok(words.iter().map(|word| u64::from(word.count_ones())).sum())
            }
            Self::Ring(ring) => ring.take(&guest.vm),
        }
    }
}

fn clear(vm: &VmFd, pages: u64, words: &[u64]) -> anyhow::Result<()> {
    let bits = kvm_clear_dirty_log__bindgen_ty_1 { dirty_bitmap: words.as_ptr().cast_mut().cast() };
    let request =
        kvm_clear_dirty_log { slot: 0, num_pages: pages as u32, first_page: 0, __bindgen_anon_1: bits };
    // SAFETY: the kernel reads the structure and a bit for each page, all of which outlive the call.
    #[allow(unsafe_code)]
    let result = unsafe { ioctl_with_ref(vm, KVM_CLEAR_DIRTY_LOG(), &request) };
    ensure!(result == 0, "KVM_CLEAR_DIRTY_LOG: {}", std::io::Error::last_os_error());
    Ok(())
}
