//! Model-specific registers: which belong to a vCPU's state, and which the guest may not have.

use kvm_ioctls::{MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, VmFd};

use super::{KvmError, ioctl};

/// Saved and restored with the vCPU, in this order. EFER, FS.base and GS.base travel with the system registers.
pub const SAVED: [u32; 11] = [
    0x174,       // SYSENTER_CS
    0x175,       // SYSENTER_ESP
    0x176,       // SYSENTER_EIP
    0x1a0,       // MISC_ENABLE
    0x277,       // PAT
    0x2ff,       // MTRRdefType
    0xc000_0081, // STAR
    0xc000_0082, // LSTAR
    0xc000_0083, // CSTAR
    0xc000_0084, // SFMASK
    0xc000_0102, // KERNEL_GS_BASE
];

/// First MSR and count of each range whose value the host would make up as time goes by. Reading or writing one is
/// an exit, and the monitor answers with #GP: the CPU table says that they are not there.
const HIDDEN: [(u32, u32); 5] = [
    (0x10, 1),        // TSC
    (0x11, 2),        // old kvmclock
    (0x3b, 1),        // TSC_ADJUST
    (0xe7, 2),        // MPERF, APERF
    (0x4b56_4d00, 9), // kvmclock, async page fault, steal time, EOI, poll control, migration control
];

/// Has KVM hand every access to a hidden MSR to the monitor.
pub fn hide_nondeterministic(vm: &VmFd) -> Result<(), KvmError> {
    let denied = [0u8; 2];
    let ranges = HIDDEN.map(|(base, msr_count)| MsrFilterRange {
        flags: MsrFilterRangeFlags::READ | MsrFilterRangeFlags::WRITE,
        base,
        msr_count,
        bitmap: &denied[..msr_count.div_ceil(8) as usize],
    });
    ioctl("KVM_X86_SET_MSR_FILTER", vm.set_msr_filter(MsrFilterDefaultAction::ALLOW, &ranges))
}
