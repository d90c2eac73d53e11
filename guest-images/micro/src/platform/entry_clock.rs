//! The kernel-entry clock: a guest that makes no exit of its own asks here, often, whether the monitor wants one.
#![allow(unsafe_code)] // The check is one piece of assembly, which no compiler may take apart.

use core::arch::asm;
use core::cell::UnsafeCell;

/// The first eight bytes of the page that the monitor writes at any time.
const DEADLINE: u64 = 0xcfff_f000;
const PORT: u16 = 0x550;

struct Entries(UnsafeCell<u64>);

// SAFETY: a guest has one vCPU and no threads, and its interrupt handlers do not count entries.
unsafe impl Sync for Entries {}

static ENTRIES: Entries = Entries(UnsafeCell::new(0));

/// Counts an entry, and makes an exit when the count has reached the monitor's deadline. Nothing of the deadline is left
/// in a register or a flag, at the exit or after: it has another value when the execution is repeated.
pub fn enter() {
    // SAFETY: the count is only ever touched here; the deadline is memory that the platform has at that address. The
    // port changes no memory of the guest.
    unsafe {
        asm!(
            "mov rax, [{entries}]",
            "inc rax",
            "mov [{entries}], rax",
            "cmp rax, [{deadline}]",
            "jb 2f",
            "cmp rax, rax",
            "out dx, al",
            "2:",
            "xor eax, eax",
            "cmp eax, eax", // XOR leaves the auxiliary carry undefined.
            entries = in(reg) ENTRIES.0.get(),
            deadline = in(reg) DEADLINE,
            in("dx") PORT,
            out("rax") _,
            options(nostack),
        );
    }
}

/// How many entries were counted.
pub fn entries() -> u64 {
    // SAFETY: as in `enter`, which is not running now.
    unsafe { *ENTRIES.0.get() }
}
