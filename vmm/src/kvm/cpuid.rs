//! The CPU that every guest sees: a table built leaf by leaf, the same on every host.
//!
//! `KVM_GET_SUPPORTED_CPUID` is not repeatable (it returns the APIC id of whichever CPU ran the ioctl), so nothing is
//! copied from it; it only tells whether this host can keep the table's promises. The table is the x86-64
//! baseline, which every KVM offers, without anything that reads the host's clock or randomness (TSC,
//! RDTSCP, RDRAND, RDSEED, MONITOR, kvmclock) and without XSAVE, whose state components vary from host to host.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};
use xxhash_rust::xxh3::xxh3_64;

use super::KvmError;
use crate::{machine::ENTRY_CLOCK_PORT, memory::DEADLINE_PAGE};

/// CPUID.1:EDX. FPU DE PSE MSR PAE MCE CX8 SEP PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2.
const LEAF_1_EDX: u32 = bits(&[0, 2, 3, 5, 6, 7, 8, 11, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26]);
/// CPUID.1:ECX. "A hypervisor is present", which KVM itself provides.
const HYPERVISOR: u32 = bits(&[31]);
/// CPUID.80000001:EDX. SYSCALL NX LM.
const EXTENDED_EDX: u32 = bits(&[11, 20, 29]);
/// CPUID.80000001:ECX. LAHF in 64-bit mode.
const EXTENDED_ECX: u32 = bits(&[0]);

const fn bits(list: &[u32]) -> u32 {
    let mut value = 0;
    let mut i = 0;
    while i < list.len() {
        value |= 1 << list[i];
        i += 1;
    }
    value
}

/// What the platform offers beyond a plain PC: bit 0, the kernel-entry clock; bit 1, queue interrupts that need no
/// look at the status register.
const FEATURES: u32 = bits(&[0, 1]);
/// How many virtio slots a guest has to probe.
const VIRTIO_SLOTS: u32 = 8;

/// One row: leaf, EAX, EBX, ECX, EDX.
const ROWS: [(u32, [u32; 4]); 15] = [
    (0x0, [0x7, word(b"Genu"), word(b"ntel"), word(b"ineI")]),
    // Family 6, model 15: a model of the baseline's age, so that no errata work-arounds for newer ones are tried.
    (0x1, [0x6f0, 0x0800, HYPERVISOR, LEAF_1_EDX]),
    (0x2, [0, 0, 0, 0]),
    (0x4, [0, 0, 0, 0]),
    (0x7, [0, 0, 0, 0]),
    // The range reserved for hypervisors: how a guest kernel finds out that it runs under replay.
    (0x4000_0000, [0x4000_0001, word(b"ftvm"), word(b"mftv"), word(b"mmft")]),
    (0x4000_0001, [FEATURES, DEADLINE_PAGE as u32, ENTRY_CLOCK_PORT as u32, VIRTIO_SLOTS]),
    (0x8000_0000, [0x8000_0008, 0, 0, 0]),
    (0x8000_0001, [0, 0, EXTENDED_ECX, EXTENDED_EDX]),
    (0x8000_0002, [word(b"ftvm"), word(b"m re"), word(b"play"), word(b" CPU")]),
    (0x8000_0003, [0, 0, 0, 0]),
    (0x8000_0004, [0, 0, 0, 0]),
    (0x8000_0006, [0, 0, 0, 0]),
    (0x8000_0007, [0, 0, 0, 0]),
    // 40 bits of physical and 48 bits of linear address.
    (0x8000_0008, [0x3028, 0, 0, 0]),
];

const fn word(text: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*text)
}

/// The table as KVM takes it.
pub fn table() -> CpuId {
    let entries = ROWS.map(|(function, [eax, ebx, ecx, edx])| kvm_cpuid_entry2 {
        function,
        eax,
        ebx,
        ecx,
        edx,
        flags: if matches!(function, 0x4 | 0x7) { kvm_bindings::KVM_CPUID_FLAG_SIGNIFCANT_INDEX } else { 0 },
        ..Default::default()
    });
    CpuId::from_entries(&entries).expect("a short table fits")
}

/// A digest of the table. A log may be replayed only where it is the same.
pub fn digest() -> u64 {
    let mut bytes = Vec::new();
    for (leaf, registers) in ROWS {
        bytes.extend(leaf.to_le_bytes());
        bytes.extend(registers.iter().flat_map(|register| register.to_le_bytes()));
    }
    xxh3_64(&bytes)
}

/// Checks that the host offers every feature that the table promises.
pub fn check(supported: &CpuId) -> Result<(), KvmError> {
    let promised =
        [(0x1, "EDX", LEAF_1_EDX), (0x8000_0001, "ECX", EXTENDED_ECX), (0x8000_0001, "EDX", EXTENDED_EDX)];
    for (leaf, register, wanted) in promised {
        let entry = supported.as_slice().iter().find(|entry| entry.function == leaf);
        let offered = entry.map_or(0, |entry| if register == "ECX" { entry.ecx } else { entry.edx });
        if wanted & !offered != 0 {
            return Err(KvmError::Cpu { leaf, register, bits: wanted & !offered });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_reads_the_hosts_clock_or_randomness_is_promised() {
        let tsc = 1 << 4;
        let (monitor, tsc_deadline, xsave, rdrand) = (1 << 3, 1 << 24, 1 << 26, 1 << 30);
        assert_eq!(LEAF_1_EDX & tsc, 0);
        let (_, [_, _, ecx, _]) = ROWS[1];
        assert_eq!(ecx & (monitor | tsc_deadline | xsave | rdrand), 0);
        assert_eq!(EXTENDED_EDX & (1 << 27), 0, "RDTSCP");
    }

    #[test]
    fn what_an_emulator_lacks_is_not_promised() {
        let (_, [_, _, ecx, _]) = ROWS[1];
        assert_eq!(ecx & (1 << 13), 0, "CMPXCHG16B");
    }

    #[test]
    fn the_table_is_the_same_each_time() {
        assert_eq!(table().as_slice(), table().as_slice());
        assert_eq!(digest(), digest());
    }
}
