//! KVM's log of the pages that the guest has written: a bitmap for each range of RAM, whose bits are cleared by hand, so
//! that a page is protected again when it is about to be read and not before (Linux Documentation/virt/kvm/api.rst,
//! sections 4.8, 4.143 and 7.16).

use kvm_bindings::{
    KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_DIRTY_LOG_INITIALLY_SET, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE,
    KVMIO, kvm_clear_dirty_log, kvm_clear_dirty_log__bindgen_ty_1, kvm_enable_cap,
};
use kvm_ioctls::{Kvm, VmFd};
use vmm_sys_util::{ioctl::ioctl_with_ref, ioctl_iowr_nr};

use super::{KvmError, Need, ioctl};

ioctl_iowr_nr!(KVM_CLEAR_DIRTY_LOG, KVMIO, 0xc0, kvm_clear_dirty_log);

/// Bits are cleared by hand, and all are set at first, so that beginning costs little whatever the RAM's size.
const MODE: u32 = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET;

/// With the words for messages.
pub fn need(kvm: &Kvm) -> Need {
    let offered = kvm.check_extension_raw(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2.into()) as u32;
    Need::of(
        "a log of written pages that is cleared by hand (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, Linux 5.7)",
        offered & MODE == MODE,
    )
}

/// Chooses how it works, before there is any.
pub fn set_up(vm: &VmFd) -> Result<(), KvmError> {
    let cap = kvm_enable_cap {
        cap: KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
        args: [MODE.into(), 0, 0, 0],
        ..Default::default()
    };
    ioctl("KVM_ENABLE_CAP(MANUAL_DIRTY_LOG_PROTECT2)", vm.enable_cap(&cap))
}

/// The bits of `slot`, which has `bytes` bytes.
pub fn read(vm: &VmFd, slot: u32, bytes: u64) -> Result<Vec<u64>, KvmError> {
    ioctl("KVM_GET_DIRTY_LOG", vm.get_dirty_log(slot, bytes as usize))
}

/// Clears those that are set in `words`, which begin with the page number `first`, a multiple of 64, of `slot`, and has
/// the guest's next write to each of these pages noted. `pages` are in the slot from there on.
pub fn clear(vm: &VmFd, slot: u32, first: u64, pages: u64, words: &[u64]) -> Result<(), KvmError> {
    let num_pages = pages.min(words.len() as u64 * 64) as u32;
    let request = kvm_clear_dirty_log {
        slot,
        num_pages,
        first_page: first,
        __bindgen_anon_1: kvm_clear_dirty_log__bindgen_ty_1 {
            dirty_bitmap: words.as_ptr().cast_mut().cast(),
        },
    };
    // SAFETY: the kernel reads the structure and as many bits as it has pages, all of which outlive the call.
    #[allow(unsafe_code)]
    let result = unsafe { ioctl_with_ref(vm, KVM_CLEAR_DIRTY_LOG(), &request) };
    if result < 0 {
        return Err(KvmError::Ioctl { what: "KVM_CLEAR_DIRTY_LOG", source: kvm_ioctls::Error::last() });
    }
    Ok(())
}
