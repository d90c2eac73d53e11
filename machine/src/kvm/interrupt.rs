//! `KVM_INTERRUPT`, which kvm-ioctls does not declare: queue an external interrupt for the next entry.

use kvm_bindings::{KVMIO, kvm_interrupt};
use kvm_ioctls::VcpuFd;
use vmm_sys_util::{ioctl::ioctl_with_ref, ioctl_iow_nr};

use super::KvmError;

ioctl_iow_nr!(KVM_INTERRUPT, KVMIO, 0x86, kvm_interrupt);

/// Queues `vector`. The vCPU must be ready for it (IF=1, no interrupt shadow, nothing queued).
pub fn inject(vcpu: &VcpuFd, vector: u8) -> Result<(), KvmError> {
    let interrupt = kvm_interrupt { irq: u32::from(vector) };
    // SAFETY: the vCPU's file descriptor is open and the kernel only reads the structure, which outlives the call.
    #[allow(unsafe_code)]
    let result = unsafe { ioctl_with_ref(vcpu, KVM_INTERRUPT(), &interrupt) };
    if result < 0 {
        return Err(KvmError::Ioctl { what: "KVM_INTERRUPT", source: kvm_ioctls::Error::last() });
    }
    Ok(())
}
