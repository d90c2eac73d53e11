//! What CPUID says in a template, leaf by leaf.

use super::template::{Register, Template};
use crate::memory::{DEADLINE_PAGE, ENTRY_CLOCK_PORT};

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub leaf: u32,
    /// The subleaf, in a leaf that has some.
    pub subleaf: Option<u32>,
    /// EAX, EBX, ECX, EDX.
    pub registers: [u32; 4],
}

/// CPUID.1:ECX. "A hypervisor is present", which KVM itself provides.
const HYPERVISOR: u32 = 1 << 31;
/// CPUID.1:EBX. CLFLUSH works on lines of 64 bytes.
const CLFLUSH_LINE: u32 = 0x0800;
/// What the platform offers beyond a plain PC: bit 0, the kernel-entry clock; bit 1, queue interrupts that need no
/// look at the status register.
const PLATFORM_FEATURES: u32 = 0b11;
/// How many virtio slots a guest has to probe.
const VIRTIO_SLOTS: u32 = 8;

/// All rows of `template`.
pub fn of(template: &Template) -> Vec<Row> {
    let bits = |register| template.bits(register);
    let (ecx_1, edx_1) = (HYPERVISOR | bits(Register::Ecx1), bits(Register::Edx1));
    let (extended_ecx, extended_edx) = (bits(Register::ExtendedEcx), bits(Register::ExtendedEdx));
    let mut rows = vec![
        row(0x0, [0x7, word(b"Genu"), word(b"ntel"), word(b"ineI")]),
        row(0x1, [template.signature, CLFLUSH_LINE, ecx_1, edx_1]),
        row(0x2, [0, 0, 0, 0]),
        // The ranges reserved for hypervisors. The first is for KVM only: the word by which it knows a guest of Hyper-V's
        // interface. Kernels that look for that look for the name in leaf 4000_0000, which is not there.
        row(0x4000_0000, [0x4000_0001, 0, 0, 0]),
        row(0x4000_0001, [word(b"Hv#1"), 0, 0, 0]),
        // The second is how a guest kernel finds out that it runs under replay.
        row(0x4000_0100, [0x4000_0101, word(b"ftvm"), word(b"mftv"), word(b"mmft")]),
        row(0x4000_0101, [PLATFORM_FEATURES, DEADLINE_PAGE as u32, ENTRY_CLOCK_PORT as u32, VIRTIO_SLOTS]),
        row(0x8000_0000, [0x8000_0008, 0, 0, 0]),
        row(0x8000_0001, [0, 0, extended_ecx, extended_edx]),
        row(0x8000_0002, [word(b"ftvm"), word(b"m re"), word(b"play"), word(b" CPU")]),
        row(0x8000_0003, [0, 0, 0, 0]),
        row(0x8000_0004, [0, 0, 0, 0]),
        row(0x8000_0006, [0, 0, if template.caches { L2_OF_256_KIB } else { 0 }, 0]),
        row(0x8000_0007, [0, 0, 0, 0]),
        // 40 bits of physical and 48 bits of linear address.
        row(0x8000_0008, [0x3028, 0, 0, 0]),
    ];
    rows.extend(if template.caches { CACHES.to_vec() } else { vec![subleaf(0x4, 0, [0, 0, 0, 0])] });
    rows.push(subleaf(0x7, 0, [0, 0, 0, 0]));
    rows
}

/// CPUID.4 (SDM volume 2): 32 KiB of data and of instructions, 256 KiB and 8 MiB, lines of 64 bytes. Programs choose block
/// sizes by them, and one that finds none warns or takes a very small one.
const CACHES: [Row; 5] = [
    subleaf(0x4, 0, cache(1, 1, 8, 64)),
    subleaf(0x4, 1, cache(1, 2, 4, 128)),
    subleaf(0x4, 2, cache(2, 3, 8, 512)),
    subleaf(0x4, 3, cache(3, 3, 16, 8192)),
    subleaf(0x4, 4, [0, 0, 0, 0]),
];
/// The same second level in the words of leaf 8000_0006: KiB, 8 ways, line size.
const L2_OF_256_KIB: u32 = 256 << 16 | 6 << 12 | 64;

/// A cache of this level and kind (1 data, 2 instructions, 3 both), for one processor, self-initializing.
const fn cache(level: u32, kind: u32, ways: u32, sets: u32) -> [u32; 4] {
    [kind | level << 5 | 1 << 8, (ways - 1) << 22 | 63, sets - 1, 0]
}

const fn row(leaf: u32, registers: [u32; 4]) -> Row {
    Row { leaf, subleaf: None, registers }
}

const fn subleaf(leaf: u32, subleaf: u32, registers: [u32; 4]) -> Row {
    Row { leaf, subleaf: Some(subleaf), registers }
}

const fn word(text: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*text)
}
