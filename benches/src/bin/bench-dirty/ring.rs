//! The ring that KVM shares (Linux Documentation/virt/kvm/api.rst, section 8.29).

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::ensure;
use kvm_bindings::{KVM_DIRTY_LOG_PAGE_OFFSET, KVMIO, kvm_dirty_gfn};
use kvm_ioctls::{VcpuFd, VmFd};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use vmm_sys_util::{ioctl::ioctl, ioctl_io_nr};

use crate::way::{ENTRIES, PAGE};

ioctl_io_nr!(KVM_RESET_DIRTY_RINGS, KVMIO, 0xc7);

const BYTES: usize = ENTRIES * size_of::<kvm_dirty_gfn>();
/// In the flags of an entry: it has a page; it may be used again.
const HAS_PAGE: u32 = 1;
const TAKEN: u32 = 2;

/// A vCPU's.
pub struct Ring {
    entries: *mut kvm_dirty_gfn,
    next: usize,
}

impl Ring {
    /// That of `vcpu`.
    pub fn of(vcpu: &VcpuFd) -> anyhow::Result<Self> {
        let at = u64::from(KVM_DIRTY_LOG_PAGE_OFFSET) * PAGE;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, wherever there is room, of a descriptor that is open.
        #[allow(unsafe_code)]
        let entries = unsafe {
            let vcpu = BorrowedFd::borrow_raw(vcpu.as_raw_fd());
            mmap(ptr::null_mut(), BYTES, access, MapFlags::SHARED, vcpu, at)?
        };
        Ok(Self { entries: entries.cast(), next: 0 })
    }

    /// Takes all that is in it; how many pages that is.
    pub fn take(&mut self, vm: &VmFd) -> anyhow::Result<u64> {
        let mut pages = 0;
        // SAFETY: the entry is one of the mapping's, and its flags are shared with the kernel as an atomic number.
        #[allow(unsafe_code)]
        let flags = |number: usize| unsafe {
            AtomicU32::from_ptr(&raw mut (*self.entries.add(number % ENTRIES)).flags)
        };
        while flags(self.next).load(Ordering::Acquire) == HAS_PAGE {
            flags(self.next).store(TAKEN, Ordering::Release);
            self.next += 1;
            pages += 1;
        }
        // SAFETY: it takes no argument.
        #[allow(unsafe_code)]
        let result = unsafe { ioctl(vm, KVM_RESET_DIRTY_RINGS()) };
        ensure!(result >= 0, "KVM_RESET_DIRTY_RINGS: {}", io::Error::last_os_error());
        Ok(pages)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing refers to it any more.
        #[allow(unsafe_code)]
        let _ = unsafe { munmap(self.entries.cast(), BYTES) };
    }
}
