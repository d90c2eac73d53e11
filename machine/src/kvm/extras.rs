//! What KVM offers every guest unasked, and what would tell it of the host: performance counters and hypercalls.

use std::{fs, path::Path};

use kvm_bindings::{
    CpuId, KVM_CAP_DISABLE_QUIRKS2, KVM_CAP_ENFORCE_PV_FEATURE_CPUID, KVM_CAP_HYPERV_ENFORCE_CPUID,
    KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE, KVM_X86_QUIRK_FIX_HYPERCALL_INSN, Msrs, kvm_enable_cap,
    kvm_msr_entry,
};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};

use super::{KvmError, Need, ioctl};

/// The directory of the `kvm` module's parameters.
pub const PARAMETERS: &str = "/sys/module/kvm/parameters";

/// Each with the words for messages.
pub fn needs(kvm: &Kvm) -> [Need; 4] {
    [
        Need::of(
            "a way to keep performance counters from guests (KVM_CAP_PMU_CAPABILITY, Linux 5.18, or the parameter kvm.enable_pmu=N)",
            can_disable_counters(kvm) || has_no_counters(),
        ),
        Need::of(
            "hypercalls that are there only where CPUID says so (KVM_CAP_ENFORCE_PV_FEATURE_CPUID)",
            offers(kvm, KVM_CAP_ENFORCE_PV_FEATURE_CPUID, 1),
        ),
        Need::of(
            "a way to keep the hypercall from guests that tells the host's time (KVM_CAP_HYPERV_ENFORCE_CPUID)",
            takes_hypercalls_for_hyper_v(|capability| kvm.check_extension_raw(capability))
                || emulates_hypercalls(),
        ),
        Need::of(
            "a way to keep KVM from rewriting the guest's hypercalls (KVM_CAP_DISABLE_QUIRKS2)",
            offers(kvm, KVM_CAP_DISABLE_QUIRKS2, KVM_X86_QUIRK_FIX_HYPERCALL_INSN),
        ),
    ]
}

/// Shuts off what belongs to a VM, before it has a vCPU.
pub fn shut_off(kvm: &Kvm, vm: &VmFd) -> Result<(), KvmError> {
    if can_disable_counters(kvm) {
        // Without this every guest on an AMD host has the four counters of a K7, whatever CPUID says; and with any counter
        // RDPMC reads the host's clock as well (KVM's numbers from 0x10000).
        let cap = capability(KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE);
        ioctl("KVM_ENABLE_CAP(PMU_CAPABILITY)", vm.enable_cap(&cap))?;
    }
    // A hypercall of the other vendor's is #UD then, as on the processor, and the guest's memory stays as it is.
    let cap = capability(KVM_CAP_DISABLE_QUIRKS2, KVM_X86_QUIRK_FIX_HYPERCALL_INSN);
    ioctl("KVM_ENABLE_CAP(DISABLE_QUIRKS2)", vm.enable_cap(&cap))
}

/// Gives a vCPU its CPU table and shuts off all hypercalls, none of which the table announces.
///
/// KVM asks CPUID about each of its own but CLOCK_PAIRING, by which the guest gets the host's time in its memory. So they
/// are all taken for Hyper-V's: that is what KVM does where CPUID has Hyper-V's interface and the guest has said what
/// system it is (which we say for it). Of Hyper-V's it then asks CPUID about each, and refuses them.
pub fn shut_off_hypercalls(vm: &VmFd, vcpu: &VcpuFd, table: &CpuId) -> Result<(), KvmError> {
    let cap = capability(KVM_CAP_ENFORCE_PV_FEATURE_CPUID, 1);
    ioctl("KVM_ENABLE_CAP(ENFORCE_PV_FEATURE_CPUID)", vcpu.enable_cap(&cap))?;
    if !takes_hypercalls_for_hyper_v(|capability| vm.check_extension_raw(capability)) {
        return ioctl("KVM_SET_CPUID2", vcpu.set_cpuid2(table));
    }
    let cap = capability(KVM_CAP_HYPERV_ENFORCE_CPUID, 1);
    ioctl("KVM_ENABLE_CAP(HYPERV_ENFORCE_CPUID)", vcpu.enable_cap(&cap))?;
    ioctl("KVM_SET_CPUID2", vcpu.set_cpuid2(table))?;
    let system = kvm_msr_entry { index: HV_X64_MSR_GUEST_OS_ID, data: 1, ..Default::default() };
    let msrs = Msrs::from_entries(&[system]).expect("a short list fits");
    match ioctl("KVM_SET_MSRS", vcpu.set_msrs(&msrs))? {
        0 => Err(KvmError::Msr { index: HV_X64_MSR_GUEST_OS_ID, action: "set" }),
        _ => Ok(()),
    }
}

/// Hyper-V's register in which a system says what it is; without that it has no hypercalls.
const HV_X64_MSR_GUEST_OS_ID: u32 = 0x4000_0000;

fn takes_hypercalls_for_hyper_v(ask: impl Fn(u64) -> i32) -> bool {
    ask(KVM_CAP_HYPERV_ENFORCE_CPUID.into()) != 0
}

/// PVM emulates the instruction, and that is #UD without the quirk.
fn emulates_hypercalls() -> bool {
    Path::new("/sys/module/kvm_pvm").exists()
}

fn can_disable_counters(kvm: &Kvm) -> bool {
    offers(kvm, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE)
}

/// The module was told to have none, and then has no capability to disable them either.
fn has_no_counters() -> bool {
    fs::read_to_string(Path::new(PARAMETERS).join("enable_pmu")).is_ok_and(|value| value.trim() == "N")
}

fn offers(kvm: &Kvm, capability: u32, bit: u32) -> bool {
    kvm.check_extension_raw(capability.into()) & bit as i32 != 0
}

fn capability(cap: u32, argument: u32) -> kvm_enable_cap {
    kvm_enable_cap { cap, args: [argument.into(), 0, 0, 0], ..Default::default() }
}
