//! What was written, and that it is noted again.

use anyhow::ensure;
use kvm_bindings::{KVMIO, kvm_clear_dirty_log, kvm_clear_dirty_log__bindgen_ty_1};
use kvm_ioctls::VmFd;
use vmm_sys_util::{ioctl::ioctl_with_ref, ioctl_iowr_nr};

use crate::{
    guest::Guest,
    ring::Ring,
    way::{PAGE, Way},
};

ioctl_iowr_nr!(KVM_CLEAR_DIRTY_LOG, KVMIO, 0xc0, kvm_clear_dirty_log);

/// What is learnt of a guest.
pub enum Account {
    Bitmap,
    Ring(Ring),
}

impl Account {
    /// Of `guest`, in the way that was chosen for it.
    pub fn of(way: Way, guest: &Guest) -> anyhow::Result<Self> {
        Ok(match way {
            Way::Bitmap => Self::Bitmap,
            Way::Ring => Self::Ring(Ring::of(&guest.vcpu)?),
        })
    }

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
