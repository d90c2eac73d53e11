//! The kernel-entry clock: a guest that makes no exit of its own asks here, often, whether the monitor wants one.
#![allow(unsafe_code)] // The check is one piece of assembly, which no compiler may take apart.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

/// The first eight bytes of the page that the monitor writes at any time.
pub const DEADLINE: u64 = 0xcfff_f000;
/// Where an entry says its count.
pub const PORT: u16 = 0x550;

/// How many entries were counted.
pub static ENTRIES: AtomicU64 = AtomicU64::new(0);

/// The instructions that count an entry, and make an exit when the monitor's deadline is this count, or 0. They change RAX,
/// RDX and the flags, and want `entries`, `deadline` and `port`. Nothing of the deadline is left in a register or a flag, at
/// the exit or after: it has another value when the execution is repeated.
///
/// An interrupt may come between any two of them, and its handler may count an entry, too. Therefore a count is made and
/// taken in one instruction, so that no two entries have the same, and an entry makes an exit at its own count only: those
/// of the handler are higher and come before it.
#[macro_export]
macro_rules! entry_instructions {
    () => {
        r#"
        mov eax, 1
        xadd [rip + {entries}], rax
        inc rax
        mov edx, {deadline}
        cmp rax, [rdx]
        je 2f
        cmp qword ptr [rdx], 0
        jne 3f
    2:  mov edx, {port}
        cmp edx, edx
        out dx, al
    3:  xor eax, eax
        xor edx, edx
        cmp eax, eax                            // XOR leaves the auxiliary carry undefined
        "#
    };
}

/// Counts an entry, and makes an exit when the monitor wants one.
pub fn enter() {
    // SAFETY: the count is a variable of the guest's own; the deadline is memory that the platform has at that address.
    // The port changes no memory of the guest.
    unsafe {
        asm!(
            crate::entry_instructions!(),
            entries = sym ENTRIES,
            deadline = const DEADLINE,
            port = const PORT,
            out("rax") _,
            out("rdx") _,
            options(nostack),
        );
    }
}

/// How many entries were counted.
pub fn entries() -> u64 {
    ENTRIES.load(Ordering::Relaxed)
}
