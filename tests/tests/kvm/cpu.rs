//! The processor that a guest sees.

use ftvmm::kvm::cpuid;
use ftvmm_tests::harness;
use vm_memory::{Bytes, GuestAddress};

use super::{
    drive,
    elf::{GENERAL_PROTECTION, Guest},
};

/// Where the guest leaves what it found.
const RESULT: u32 = 0x20_0000;

/// `mov eax, leaf; xor ecx, ecx; cpuid`, then EAX, EBX, ECX and EDX stored one after the other.
fn read_leaf(leaf: u32, at: u32) -> Vec<u8> {
    let mut code = [&[0xb8][..], &leaf.to_le_bytes(), &[0x31, 0xc9, 0x0f, 0xa2]].concat();
    // mov [disp32], register
    for (place, register) in [0x04, 0x1c, 0x0c, 0x14].into_iter().enumerate() {
        code.extend([0x89, register, 0x25]);
        code.extend((at + 4 * place as u32).to_le_bytes());
    }
    code
}

/// A KVM without hardware virtualization underneath adds bits of the host to the features in leaf 1 and to leaf 7, so
/// of these only what the table promises is checked.
#[test]
fn the_cpu_table_is_what_a_guest_reads() {
    if !harness::require_kvm() {
        return;
    }
    let table = cpuid::table();
    let rows: Vec<_> = table.as_slice().iter().filter(|row| row.function != 7).collect();
    let reads =
        rows.iter().enumerate().map(|(index, row)| read_leaf(row.function, RESULT + 16 * index as u32));
    let guest = Guest::with_fault_handler(&reads.collect::<Vec<_>>().concat());
    let mut machine = drive::boot(&guest.kernel(), "");
    assert_eq!(drive::run(&mut machine).unwrap(), 0);
    for (index, row) in rows.iter().enumerate() {
        let at = GuestAddress(u64::from(RESULT) + 16 * index as u64);
        let [eax, ebx, ecx, edx]: [u32; 4] = machine.memory().guest().read_obj(at).unwrap();
        let leaf = row.function;
        let features = if leaf == 1 { (ecx & row.ecx, edx & row.edx) } else { (ecx, edx) };
        assert_eq!((eax, ebx), (row.eax, row.ebx), "leaf {leaf:#x}");
        assert_eq!(features, (row.ecx, row.edx), "leaf {leaf:#x}");
    }
}

/// `mov ecx, index; xor eax, eax; xor edx, edx`, and the access.
fn access_msr(index: u32, access: [u8; 2]) -> Guest {
    let code = [&[0xb9][..], &index.to_le_bytes(), &[0x31, 0xc0, 0x31, 0xd2], &access].concat();
    Guest::with_fault_handler(&code)
}

const RDMSR: [u8; 2] = [0x0f, 0x32];
const WRMSR: [u8; 2] = [0x0f, 0x30];

#[test]
fn an_msr_that_tells_the_hosts_time_is_a_protection_fault() {
    if !harness::require_kvm() {
        return;
    }
    // TSC, the old kvmclock, TSC_ADJUST, MPERF and APERF, everything of KVM's own; and one that no processor has.
    let hidden = [0x10, 0x11, 0x12, 0x3b, 0xe7, 0xe8].into_iter().chain(0x4b56_4d00..=0x4b56_4d08);
    for index in hidden.chain([0x1234_5678]) {
        for access in [RDMSR, WRMSR] {
            let guest = access_msr(index, access);
            let status = drive::run(&mut drive::boot(&guest.kernel(), "")).unwrap();
            assert_eq!(status, u32::from(GENERAL_PROTECTION), "MSR {index:#x}, {access:x?}");
        }
    }
}

#[test]
fn other_msrs_are_there() {
    if !harness::require_kvm() {
        return;
    }
    // PAT, EFER, STAR, KERNEL_GS_BASE
    for index in [0x277, 0xc000_0080, 0xc000_0081, 0xc000_0102] {
        let guest = access_msr(index, RDMSR);
        assert_eq!(drive::run(&mut drive::boot(&guest.kernel(), "")).unwrap(), 0, "MSR {index:#x}");
    }
}
