//! The host's KVM and one virtual machine on it.

use kvm_bindings::{CpuId, KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, Kvm, VmFd};
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};

use super::{
    KvmError, Need, Vcpu,
    cpuid::{self, Template},
    extras, ioctl, msr,
};
use crate::memory::{DEADLINE_PAGE, Doorbell, Memory, PAGE_SIZE};

/// The version of the kernel interface; it has not changed since 2007 and is not going to.
const API_VERSION: i32 = 12;

/// Capabilities that replay depends on, with the words for messages.
const CAPABILITIES: [(Cap, &str); 12] = [
    (Cap::UserMemory, "user memory regions"),
    (Cap::ReadonlyMem, "read-only memory regions"),
    (Cap::ImmediateExit, "immediate_exit"),
    (Cap::SyncRegs, "register synchronisation in kvm_run"),
    (Cap::X86UserSpaceMsr, "MSR exits to user space"),
    (Cap::X86MsrFilter, "MSR filters"),
    (Cap::ExtCpuid, "KVM_SET_CPUID2"),
    (Cap::Xsave, "KVM_GET_XSAVE"),
    (Cap::VcpuEvents, "KVM_GET_VCPU_EVENTS"),
    (Cap::Debugregs, "KVM_GET_DEBUGREGS"),
    (Cap::Xcrs, "KVM_GET_XCRS"),
    (Cap::MpState, "KVM_GET_MP_STATE"),
];

/// This machine's KVM, found to be good enough.
pub struct Host {
    kvm: Kvm,
    supported: CpuId,
}

impl Host {
    /// Opens `/dev/kvm` and checks everything the monitor needs of it.
    pub fn open() -> Result<Self, KvmError> {
        let kvm = Kvm::new().map_err(KvmError::Open)?;
        needs(&kvm).into_iter().try_for_each(|need| need.met)?;
        let supported = supported_cpuid(&kvm)?;
        Ok(Self { kvm, supported })
    }

    /// Everything that [`Host::open`] checks, one by one.
    ///
    /// # Errors
    /// [`KvmError::Open`], when there is no KVM to check.
    pub fn examine() -> Result<Vec<Need>, KvmError> {
        Ok(needs(&Kvm::new().map_err(KvmError::Open)?))
    }

    /// The richest CPU that guests can be shown here.
    pub fn richest_cpu(&self) -> Result<&'static Template, KvmError> {
        cpuid::richest(&self.supported)
    }

    /// Whether guests can be shown `cpu` here.
    ///
    /// # Errors
    /// [`KvmError::Cpu`], with what is missing.
    pub fn can_show(&self, cpu: &Template) -> Result<(), KvmError> {
        cpu.check(&self.supported)
    }

    /// Makes a virtual machine with `cpu` as its processor, `memory` as its RAM, and the page of `doorbell`.
    pub fn create_vm(
        &self,
        cpu: &'static Template,
        memory: Memory,
        doorbell: Doorbell,
    ) -> Result<Vm, KvmError> {
        self.can_show(cpu)?;
        let fd = ioctl("KVM_CREATE_VM", self.kvm.create_vm())?;
        msr::allow_only_the_kept(&fd)?;
        extras::shut_off(&self.kvm, &fd)?;
        if self.kvm.check_extension(Cap::SetTssAddr) {
            // Intel hosts want three pages of their own below 4 GiB, away from RAM and devices.
            ioctl("KVM_SET_TSS_ADDR", fd.set_tss_address(0xfffb_d000))?;
        }
        let vm = Vm { fd, cpu, memory, doorbell };
        vm.register_memory()?;
        Ok(vm)
    }
}

fn needs(kvm: &Kvm) -> Vec<Need> {
    let mut needs = vec![Need::of("version 12 of the KVM interface", kvm.get_api_version() == API_VERSION)];
    needs.extend(CAPABILITIES.map(|(capability, what)| Need::of(what, kvm.check_extension(capability))));
    needs.extend(extras::needs(kvm));
    let base = supported_cpuid(kvm).and_then(|supported| cpuid::richest(&supported).map(drop));
    needs.push(Need { what: "the features of the poorest CPU baseline", met: base });
    needs
}

fn supported_cpuid(kvm: &Kvm) -> Result<CpuId, KvmError> {
    let supported = kvm.get_supported_cpuid(kvm_bindings::KVM_MAX_CPUID_ENTRIES);
    ioctl("KVM_GET_SUPPORTED_CPUID", supported)
}

/// One virtual machine. The guest memory lives exactly as long as KVM may touch it.
pub struct Vm {
    fd: VmFd,
    cpu: &'static Template,
    memory: Memory,
    doorbell: Doorbell,
}

impl Vm {
    fn register_memory(&self) -> Result<(), KvmError> {
        let deadline_page = kvm_userspace_memory_region {
            guest_phys_addr: DEADLINE_PAGE,
            memory_size: PAGE_SIZE as u64,
            userspace_addr: self.doorbell.host_address(),
            flags: KVM_MEM_READONLY,
            ..Default::default()
        };
        let ram = self.memory.guest().iter().map(|region| {
            let start = region.start_addr();
            let host = self.memory.guest().get_host_address(start).expect("a region holds its start");
            kvm_userspace_memory_region {
                guest_phys_addr: start.raw_value(),
                memory_size: region.len(),
                userspace_addr: host as u64,
                ..Default::default()
            }
        });
        for (slot, region) in (0..).zip(ram.chain([deadline_page])) {
            let region = kvm_userspace_memory_region { slot, ..region };
            // SAFETY: the mappings belong to `self.memory` and `self.doorbell`, which `Vm` keeps until after `fd` is
            // closed (fields drop in order), and no two regions overlap: RAM ends below the page.
            #[allow(unsafe_code)]
            let result = unsafe { self.fd.set_user_memory_region(region) };
            ioctl("KVM_SET_USER_MEMORY_REGION", result)?;
        }
        Ok(())
    }

    /// Makes the machine's one vCPU, with the VM's CPU table.
    pub fn create_vcpu(&self) -> Result<Vcpu, KvmError> {
        let fd = ioctl("KVM_CREATE_VCPU", self.fd.create_vcpu(0))?;
        extras::shut_off_hypercalls(&self.fd, &fd, &self.cpu.table())?;
        Ok(Vcpu::new(fd))
    }

    /// The deadline of the kernel-entry clock.
    pub fn doorbell(&self) -> &Doorbell {
        &self.doorbell
    }

    /// The guest's RAM.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }
}
