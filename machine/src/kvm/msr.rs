//! Model-specific registers: what the guest finds there. One table; whatever is not in it is #GP.
//!
//! KVM's filter lets the guest reach only what KVM keeps, and each of these is a plain register that travels with the
//! state. Everything else is an exit, which is a sync point like any other, and is answered by the table alone. (KVM does
//! not filter those of an x2APIC, 0x800 to 0x8ff: without an interrupt controller in the kernel it has none of them.)

use kvm_bindings::{
    KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_FILTER, KVM_MSR_EXIT_REASON_INVAL,
    KVM_MSR_EXIT_REASON_UNKNOWN, kvm_enable_cap,
};
use kvm_ioctls::{MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, VmFd};

use super::{KvmError, ioctl};

/// Kept by KVM, and saved and restored with the vCPU in this order.
pub const SAVED: [u32; 9] = [
    0x174,       // SYSENTER_CS: entry of 32-bit programs into the kernel
    0x175,       // SYSENTER_ESP
    0x176,       // SYSENTER_EIP
    0x277,       // PAT: kinds of caching, which page tables choose from
    0xc000_0081, // STAR: entry of programs into the kernel
    0xc000_0082, // LSTAR
    0xc000_0083, // CSTAR
    0xc000_0084, // SFMASK
    0xc000_0102, // KERNEL_GS_BASE: what SWAPGS brings
];

/// Kept by KVM, and saved and restored with the system registers.
const IN_SYSTEM_REGISTERS: [u32; 3] = [
    0xc000_0080, // EFER: 64-bit mode, SYSCALL, no-execute
    0xc000_0100, // FS_BASE: a program's thread
    0xc000_0101, // GS_BASE: the kernel's processor
];

/// What kernels read without asking CPUID first, and the value that they find. Writes change nothing.
const CONSTANT: [(u32, u64); 3] = [
    (0x8b, 1 << 32),            // UCODE_REV: revision 1, as KVM on Intel says
    (0x1a0, 1 << 11 | 1 << 12), // MISC_ENABLE: no branch trace, no event-based sampling
    (0x1d9, 0),                 // DEBUGCTL: no branch trace, no stepping by branches
];

/// What a guest finds in an MSR that KVM does not keep for it; nothing where it is to find none.
pub fn constant(index: u32) -> Option<u64> {
    CONSTANT.iter().find(|(constant, _)| *constant == index).map(|(_, value)| *value)
}

/// Has KVM hand every access to an MSR to the monitor, but for those that it keeps.
pub fn allow_only_the_kept(vm: &VmFd) -> Result<(), KvmError> {
    let reasons = KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_FILTER;
    let mut to_user = kvm_enable_cap { cap: KVM_CAP_X86_USER_SPACE_MSR, ..Default::default() };
    to_user.args[0] = u64::from(reasons);
    ioctl("KVM_ENABLE_CAP(X86_USER_SPACE_MSR)", vm.enable_cap(&to_user))?;

    // A bit of 1 allows. The kernel reads whole words of 64 bits.
    let allowed = 1u64.to_le_bytes();
    let ranges: Vec<_> = SAVED
        .into_iter()
        .chain(IN_SYSTEM_REGISTERS)
        .map(|base| MsrFilterRange {
            flags: MsrFilterRangeFlags::READ | MsrFilterRangeFlags::WRITE,
            base,
            msr_count: 1,
            bitmap: &allowed,
        })
        .collect();
    ioctl("KVM_X86_SET_MSR_FILTER", vm.set_msr_filter(MsrFilterDefaultAction::DENY, &ranges))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_msr_is_both_kept_and_constant() {
        assert!(SAVED.iter().chain(&IN_SYSTEM_REGISTERS).all(|&index| constant(index).is_none()));
        assert_eq!(constant(0x1a0), Some(0x1800));
    }
}
