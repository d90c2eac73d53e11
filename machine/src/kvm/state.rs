//! All of a vCPU's state between two stretches, as a value.

use kvm_bindings::{
    Msrs, kvm_debugregs, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs,
    kvm_xsave,
};
use kvm_ioctls::VcpuFd;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{KvmError, ioctl, msr};

/// The registers, in the pieces KVM has for them.
#[derive(Debug, Serialize, Deserialize)]
pub struct VcpuState {
    regs: kvm_regs,
    sregs: kvm_sregs,
    xcrs: kvm_xcrs,
    xsave: Box<kvm_xsave>,
    events: kvm_vcpu_events,
    debugregs: kvm_debugregs,
    mp_state: kvm_mp_state,
    msrs: Vec<(u32, u64)>,
}

impl VcpuState {
    /// Reads it. The last exit must have been completed.
    pub(super) fn capture(fd: &VcpuFd) -> Result<Self, KvmError> {
        Ok(Self {
            regs: ioctl("KVM_GET_REGS", fd.get_regs())?,
            sregs: ioctl("KVM_GET_SREGS", fd.get_sregs())?,
            xcrs: ioctl("KVM_GET_XCRS", fd.get_xcrs())?,
            xsave: Box::new(ioctl("KVM_GET_XSAVE", fd.get_xsave())?),
            events: ioctl("KVM_GET_VCPU_EVENTS", fd.get_vcpu_events())?,
            debugregs: ioctl("KVM_GET_DEBUGREGS", fd.get_debug_regs())?,
            mp_state: ioctl("KVM_GET_MP_STATE", fd.get_mp_state())?,
            msrs: read_msrs(fd)?,
        })
    }

    /// Writes it, in an order in which nothing overwrites what came before.
    pub(super) fn apply(&self, fd: &VcpuFd) -> Result<(), KvmError> {
        let Self { regs, sregs, xcrs, xsave, events, debugregs, mp_state, msrs } = self;
        ioctl("KVM_SET_MP_STATE", fd.set_mp_state(*mp_state))?;
        ioctl("KVM_SET_SREGS", fd.set_sregs(sregs))?;
        ioctl("KVM_SET_REGS", fd.set_regs(regs))?;
        ioctl("KVM_SET_XCRS", fd.set_xcrs(xcrs))?;
        // SAFETY: no vCPU of ours enables dynamic XSAVE features, so the structure's fixed size is the kernel's.
        #[allow(unsafe_code)]
        let result = unsafe { fd.set_xsave(xsave) };
        ioctl("KVM_SET_XSAVE", result)?;
        write_msrs(fd, msrs)?;
        ioctl("KVM_SET_DEBUGREGS", fd.set_debug_regs(debugregs))?;
        ioctl("KVM_SET_VCPU_EVENTS", fd.set_vcpu_events(events))
    }

    /// A digest of what the guest can observe of it, for comparing two executions that should be the same.
    pub fn digest(&self) -> u64 {
        let Self { regs, sregs, xcrs: _, xsave, events: _, debugregs: _, mp_state: _, msrs } = self;
        let control = [sregs.cr0, sregs.cr2, sregs.cr3, sregs.cr4, sregs.efer, sregs.fs.base, sregs.gs.base];
        let vector = vector_registers(xsave);
        let bytes =
            postcard::to_stdvec(&(regs, control, msrs, vector.as_slice())).expect("plain integers encode");
        xxh3_64(&bytes)
    }
}

/// XMM0–15 of the legacy region (SDM volume 1, section 13.4.1). The rest of an XSAVE image holds bits that differ
/// from host to host without the guest being able to tell.
fn vector_registers(xsave: &kvm_xsave) -> Vec<u32> {
    xsave.region[160 / 4..416 / 4].to_vec()
}

fn read_msrs(fd: &VcpuFd) -> Result<Vec<(u32, u64)>, KvmError> {
    let entries = msr::SAVED.map(|index| kvm_msr_entry { index, ..Default::default() });
    let mut msrs = Msrs::from_entries(&entries).expect("a short list fits");
    let read = ioctl("KVM_GET_MSRS", fd.get_msrs(&mut msrs))?;
    match msr::SAVED.get(read) {
        Some(&index) => Err(KvmError::Msr { index, action: "read" }),
        None => Ok(msrs.as_slice().iter().map(|entry| (entry.index, entry.data)).collect()),
    }
}

fn write_msrs(fd: &VcpuFd, values: &[(u32, u64)]) -> Result<(), KvmError> {
    // Only what we save is ever restored, whatever a peer or a file says.
    if let Some((index, _)) = values.iter().find(|(index, _)| !msr::SAVED.contains(index)) {
        return Err(KvmError::Msr { index: *index, action: "restored" });
    }
    let entries: Vec<_> =
        values.iter().map(|&(index, data)| kvm_msr_entry { index, data, ..Default::default() }).collect();
    let Ok(msrs) = Msrs::from_entries(&entries) else {
        return Err(KvmError::Msr { index: 0, action: "restored" });
    };
    let written = ioctl("KVM_SET_MSRS", fd.set_msrs(&msrs))?;
    match values.get(written) {
        Some(&(index, _)) => Err(KvmError::Msr { index, action: "restored" }),
        None => Ok(()),
    }
}
