//! A guest that writes a word of each of some pages and says when it is done, at CPL3: where KVM emulates what a guest's
//! kernel does, this is run by the processor.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use kvm_bindings::{
    KVM_MAX_CPUID_ENTRIES, KVM_MEM_LOG_DIRTY_PAGES, kvm_regs, kvm_segment, kvm_sregs,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{Cap, Kvm, VcpuExit, VcpuFd, VmFd};
use machine::memory::Memory;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::way::{PAGE, Way};

/// Page tables that map the first GiB as it is, and the program.
const TOP: u64 = 0x1000;
const MIDDLE: u64 = 0x2000;
const DIRECTORY: u64 = 0x3000;
const PROGRAM: u64 = 0x4000;
/// What it writes begins here.
const DATA: u64 = 2 << 20;
/// Present, writable, for users, accessed, dirty; and of 2 MiB.
const TABLE: u64 = 0x67;
const LEAF: u64 = 0xe7;
/// `start: mov rsi, r8; mov rcx, r9; page: mov [rsi], rcx; add rsi, r10; dec rcx; jnz page; out 0x80, al; jmp start`
const CODE: [u8; 21] = [
    0x4c, 0x89, 0xc6, 0x4c, 0x89, 0xc9, 0x48, 0x89, 0x0e, 0x4c, 0x01, 0xd6, 0x48, 0xff, 0xc9, 0x75, 0xf5,
    0xe6, 0x80, 0xeb, 0xeb,
];
/// Ports may be used at CPL3.
const FLAGS: u64 = 0x3002;

/// The guest.
pub struct Guest {
    // In the order in which they end.
    pub vcpu: VcpuFd,
    pub vm: VmFd,
    memory: Memory,
}

impl Guest {
    /// One that writes nothing yet, whose pages can be accounted for in this way.
    pub fn new(way: Way, mib: u64) -> anyhow::Result<Self> {
        let kvm = Kvm::new()?;
        let vm = kvm.create_vm()?;
        way.set_up(&vm)?;
        if kvm.check_extension(Cap::SetTssAddr) {
            vm.set_tss_address(0xfffb_d000)?;
        }
        let memory = Memory::new(mib as u32)?;
        let vcpu = vm.create_vcpu(0)?;
        vcpu.set_cpuid2(&kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?)?;
        let guest = Self { vcpu, vm, memory };
        guest.track(false)?;
        guest.load()?;
        Ok(guest)
    }

    /// Pages that it has to write.
    pub fn pages(&self) -> u64 {
        (self.bytes() - DATA) / PAGE
    }

    /// Its RAM.
    pub fn bytes(&self) -> u64 {
        self.memory.page_count() * PAGE
    }

    /// Has KVM note what it writes, or no longer.
    pub fn track(&self, on: bool) -> anyhow::Result<()> {
        let region = kvm_userspace_memory_region {
            slot: 0,
            guest_phys_addr: 0,
            memory_size: self.bytes(),
            userspace_addr: self.memory.guest().get_host_address(GuestAddress(0))? as u64,
            flags: if on { KVM_MEM_LOG_DIRTY_PAGES } else { 0 },
        };
        // SAFETY: the memory is kept until after the VM is gone (fields drop in order).
        #[allow(unsafe_code)]
        unsafe {
            self.vm.set_user_memory_region(region)?;
        }
        Ok(())
    }

    /// It is to write so many pages from now on, as far from each other as there is room.
    pub fn write(&self, pages: u64) -> anyhow::Result<()> {
        ensure!(pages <= self.pages(), "a guest with {} pages cannot write {pages}", self.pages());
        let regs = self.vcpu.get_regs()?;
        self.vcpu.set_regs(&kvm_regs { r8: DATA, r9: pages, r10: self.pages() / pages * PAGE, ..regs })?;
        Ok(())
    }

    /// It writes them once; how long that takes.
    pub fn pass(&mut self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        match self.vcpu.run()? {
            VcpuExit::IoOut(0x80, _) => Ok(begun.elapsed()),
            exit => bail!("the guest exits for {exit:?}"),
        }
    }

    fn load(&self) -> anyhow::Result<()> {
        let memory = self.memory.guest();
        memory.write_obj(MIDDLE | TABLE, GuestAddress(TOP))?;
        memory.write_obj(DIRECTORY | TABLE, GuestAddress(MIDDLE))?;
        for entry in 0..512 {
            memory.write_obj((entry << 21) | LEAF, GuestAddress(DIRECTORY + entry * 8))?;
        }
        memory.write_slice(&CODE, GuestAddress(PROGRAM))?;
        let sregs = self.vcpu.get_sregs()?;
        self.vcpu.set_sregs(&long_mode(sregs))?;
        self.vcpu.set_regs(&kvm_regs { rip: PROGRAM, rflags: FLAGS, ..kvm_regs::default() })?;
        Ok(())
    }
}

/// 64-bit mode at CPL3 (AMD64 Architecture Programmer's Manual, volume 2, chapter 14).
fn long_mode(mut sregs: kvm_sregs) -> kvm_sregs {
    let data = kvm_segment {
        selector: 0x2b,
        limit: 0xffff_ffff,
        type_: 3,
        present: 1,
        dpl: 3,
        s: 1,
        db: 1,
        g: 1,
        ..kvm_segment::default()
    };
    sregs.cs = kvm_segment { selector: 0x33, type_: 11, l: 1, db: 0, ..data };
    (sregs.ss, sregs.ds, sregs.es, sregs.fs, sregs.gs) = (data, data, data, data, data);
    (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer) = (0x8001_0033, TOP, 0x620, 0x500);
    sregs
}
