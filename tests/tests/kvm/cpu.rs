//! The processor that a guest sees.

use ftvmm_tests::{
    elf::{GENERAL_PROTECTION, Guest, INVALID_OPCODE},
    harness,
};
use machine::kvm::Host;
use vm_memory::{Bytes, GuestAddress};

use super::drive;

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
    let table = Host::open().unwrap().richest_cpu().unwrap().table();
    let rows: Vec<_> = table.as_slice().iter().filter(|row| row.function != 7 && row.index == 0).collect();
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
fn an_msr_that_is_not_listed_is_a_protection_fault() {
    if !harness::require_kvm() {
        return;
    }
    // TSC, the old kvmclock, TSC_ADJUST, MPERF and APERF; counters and their selectors, of Intel and of AMD's K7; what
    // KVM keeps for whoever asks (machine checks, caching by range, CPUID faulting, TSC_AUX); the clock of an x2APIC and
    // of Hyper-V; everything of KVM's own; and one that no processor has.
    let time = [0x10, 0x11, 0x12, 0x3b, 0xe7, 0xe8, 0x839, 0x4000_0020];
    let counters = [0xc1, 0x186, 0x309, 0x345].into_iter().chain(0xc001_0000..=0xc001_0007);
    let kept = [0x179, 0x17a, 0x400, 0x2ff, 0x140, 0xc000_0103];
    let kvms = 0x4b56_4d00..=0x4b56_4d08;
    for index in time.into_iter().chain(counters).chain(kept).chain(kvms).chain([0x1234_5678]) {
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

/// `mov [disp32], eax`
fn store_eax(at: u32) -> Vec<u8> {
    [&[0x89, 0x04, 0x25][..], &at.to_le_bytes()].concat()
}

#[test]
fn an_msr_that_kernels_read_unasked_is_a_constant() {
    if !harness::require_kvm() {
        return;
    }
    // UCODE_REV, MISC_ENABLE, DEBUGCTL: EAX of each, after a write.
    for (index, value) in [(0x8b, 0), (0x1a0, 0x1800), (0x1d9, 0)] {
        let index: u32 = index;
        // mov ecx, index; mov eax, -1; xor edx, edx; wrmsr; rdmsr
        let write_and_read = [0xb8, 0xff, 0xff, 0xff, 0xff, 0x31, 0xd2, 0x0f, 0x30, 0x0f, 0x32];
        let code = [&[0xb9][..], &index.to_le_bytes(), &write_and_read, &store_eax(RESULT)].concat();
        let mut machine = drive::boot(&Guest::with_fault_handler(&code).kernel(), "");
        assert_eq!(drive::run(&mut machine).unwrap(), 0, "MSR {index:#x}");
        assert_eq!(machine.memory().guest().read_obj::<u32>(GuestAddress(RESULT.into())).unwrap(), value);
    }
}

#[test]
fn performance_counters_are_not_there() {
    if !harness::require_kvm() {
        return;
    }
    // The first, a fixed one of Intel's, and those by which KVM tells VMware's guests the host's time.
    for counter in [0u32, 0x4000_0000, 0x1_0000, 0x1_0001, 0x1_0002] {
        // mov ecx, counter; rdpmc
        let guest = Guest::with_fault_handler(&[&[0xb9][..], &counter.to_le_bytes(), &[0x0f, 0x33]].concat());
        let status = drive::run(&mut drive::boot(&guest.kernel(), "")).unwrap();
        assert_eq!(status, u32::from(GENERAL_PROTECTION), "counter {counter:#x}");
    }
}

const VMCALL: [u8; 3] = [0x0f, 0x01, 0xc1];
const VMMCALL: [u8; 3] = [0x0f, 0x01, 0xd9];
/// The status that the guest ends with, what RAX holds then if it got that far, and the words at [`RESULT`].
fn hypercall(number: u32, instruction: [u8; 3]) -> (u32, u32, [u64; 8]) {
    let answer = RESULT + 0x100;
    // mov eax, number; mov ebx, RESULT; xor ecx, ecx; xor edx, edx; xor esi, esi
    let code = [
        &[0xb8][..],
        &number.to_le_bytes(),
        &[0xbb],
        &RESULT.to_le_bytes(),
        &[0x31, 0xc9, 0x31, 0xd2, 0x31, 0xf6],
        &instruction,
        &store_eax(answer),
    ]
    .concat();
    let mut machine = drive::boot(&Guest::with_fault_handler(&code).kernel(), "");
    let status = drive::run(&mut machine).unwrap();
    let memory = machine.memory().guest();
    let answer = memory.read_obj(GuestAddress(answer.into())).unwrap();
    (status, answer, memory.read_obj(GuestAddress(RESULT.into())).unwrap())
}

/// On PVM, where the instruction is emulated, and with the other vendor's it is an invalid opcode. Otherwise KVM takes it for one of
/// Hyper-V's and refuses it.
#[test]
fn hypercalls_tell_nothing() {
    if !harness::require_kvm() {
        return;
    }
    // All that KVM has: from 1, which polls an interrupt controller, to 12, which shares memory; 9 gives the host's time.
    for number in 1..=12 {
        for instruction in [VMCALL, VMMCALL] {
            let seen = hypercall(number, instruction);
            let (status, _, written) = seen;
            assert!([0, INVALID_OPCODE.into()].contains(&status), "{number}: {seen:x?}");
            assert_eq!(written, [0; 8], "hypercall {number} wrote to the guest's memory");
            assert_eq!(hypercall(number, instruction), seen, "{number}");
        }
    }
}
