//! The host's KVM and one virtual machine on it.

use std::sync::{Arc, atomic::AtomicBool};

use kvm_bindings::{CpuId, KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, Kvm, VmFd};
use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::{
    KvmError, Need, Vcpu,
    cpuid::{self, Template},
    dirty_log, extras, ioctl, msr,
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
        dirty_log::set_up(&fd)?;
        let vm = Vm(Arc::new(Parts { fd, cpu, memory, doorbell, tracked: AtomicBool::new(false) }));
        vm.register_memory()?;
        Ok(vm)
    }
}

fn needs(kvm: &Kvm) -> Vec<Need> {
    let mut needs = vec![Need::of("version 12 of the KVM interface", kvm.get_api_version() == API_VERSION)];
    needs.extend(CAPABILITIES.map(|(capability, what)| Need::of(what, kvm.check_extension(capability))));
    needs.extend(extras::needs(kvm));
    needs.push(dirty_log::need(kvm));
    let base = supported_cpuid(kvm).and_then(|supported| cpuid::richest(&supported).map(drop));
    needs.push(Need { what: "the features of the poorest CPU baseline", met: base });
    needs
}

fn supported_cpuid(kvm: &Kvm) -> Result<CpuId, KvmError> {
    let supported = kvm.get_supported_cpuid(kvm_bindings::KVM_MAX_CPUID_ENTRIES);
    ioctl("KVM_GET_SUPPORTED_CPUID", supported)
}

/// One virtual machine. The guest memory lives exactly as long as KVM may touch it. Clones are the same machine.
#[derive(Clone)]
pub struct Vm(Arc<Parts>);

struct Parts {
    fd: VmFd,
    cpu: &'static Template,
    memory: Memory,
    doorbell: Doorbell,
    /// Somebody keeps account of the pages that are written.
    tracked: AtomicBool,
}

impl Vm {
    fn register_memory(&self) -> Result<(), KvmError> {
        self.set_regions(0)?;
        let slot = self.0.memory.guest().num_regions() as u32;
        self.set_region(kvm_userspace_memory_region {
            slot,
            guest_phys_addr: DEADLINE_PAGE,
            memory_size: PAGE_SIZE as u64,
            userspace_addr: self.0.doorbell.host_address(),
            flags: KVM_MEM_READONLY,
        })
    }

    /// Each range of RAM is a slot, in their order.
    fn set_regions(&self, flags: u32) -> Result<(), KvmError> {
        for (slot, range) in (0..).zip(self.0.memory.ranges()) {
            let host = self.0.memory.guest().get_host_address(GuestAddress(range.start));
            self.set_region(kvm_userspace_memory_region {
                slot,
                guest_phys_addr: range.start,
                memory_size: range.end - range.start,
                userspace_addr: host.expect("a range holds its start") as u64,
                flags,
            })?;
        }
        Ok(())
    }

    fn set_region(&self, region: kvm_userspace_memory_region) -> Result<(), KvmError> {
        // SAFETY: the mappings belong to the memory and the doorbell, which are kept until after `fd` is closed (fields
        // drop in order), and no two regions overlap: the page is in the hole of RAM.
        #[allow(unsafe_code)]
        let result = unsafe { self.0.fd.set_user_memory_region(region) };
        ioctl("KVM_SET_USER_MEMORY_REGION", result)
    }

    /// Has KVM note which pages the guest writes, or no longer. All count as written at first.
    pub(crate) fn log_writes(&self, on: bool) -> Result<(), KvmError> {
        self.set_regions(if on { KVM_MEM_LOG_DIRTY_PAGES } else { 0 })
    }

    /// Whether somebody is having that done.
    pub(crate) fn is_tracked(&self) -> &AtomicBool {
        &self.0.tracked
    }

    /// What KVM has noted, a bitmap for each range of RAM.
    pub(crate) fn written_pages(&self) -> Result<Vec<Vec<u64>>, KvmError> {
        let ranges = self.0.memory.ranges();
        (0..)
            .zip(ranges)
            .map(|(slot, range)| dirty_log::read(&self.0.fd, slot, range.end - range.start))
            .collect()
    }

    /// Pages of RAM's range number `range`, a bit for each from `gpa` on, count as not written.
    pub(crate) fn protect_pages(&self, range: usize, gpa: u64, words: &[u64]) -> Result<(), KvmError> {
        let bounds = self.0.memory.ranges().nth(range).expect("it is one of RAM's");
        let pages = |bytes: u64| bytes / PAGE_SIZE as u64;
        dirty_log::clear(&self.0.fd, range as u32, pages(gpa - bounds.start), pages(bounds.end - gpa), words)
    }

    /// Makes the machine's one vCPU, with the VM's CPU table.
    pub fn create_vcpu(&self) -> Result<Vcpu, KvmError> {
        let fd = ioctl("KVM_CREATE_VCPU", self.0.fd.create_vcpu(0))?;
        extras::shut_off_hypercalls(&self.0.fd, &fd, &self.0.cpu.table())?;
        Ok(Vcpu::new(fd))
    }

    /// The deadline of the kernel-entry clock.
    pub fn doorbell(&self) -> &Doorbell {
        &self.0.doorbell
    }

    /// The guest's RAM.
    pub fn memory(&self) -> &Memory {
        &self.0.memory
    }
}
