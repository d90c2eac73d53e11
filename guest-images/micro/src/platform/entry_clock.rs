//! The kernel-entry clock: a guest that makes no exit of its own asks here, often, whether the monitor wants one.
//!
//! An interrupt may come between any two instructions, and its handler may count an entry, too. Therefore a count is made
//! and taken in one instruction, so that no two entries have the same, and an entry makes an exit at its own count only:
//! those of the handler are higher and come before it.
#![allow(unsafe_code)] // The check is one piece of assembly, which no compiler may take apart.

use core::arch::asm;
use core::cell::UnsafeCell;

/// The first eight bytes of the page that the monitor writes at any time.
pub const DEADLINE: u64 = 0xcfff_f000;
/// Where an entry says its count.
pub const PORT: u16 = 0x550;

/// How many entries were counted.
pub struct Entries(UnsafeCell<u64>);

// SAFETY: a guest has one vCPU and no threads, and what counts an entry does it in one instruction.
unsafe impl Sync for Entries {}

/// The guest's.
pub static ENTRIES: Entries = Entries(UnsafeCell::new(0));

/// Counts an entry, and makes an exit when the monitor's deadline is this count, or 0. Nothing of the deadline is left in a
/// register or a flag, at the exit or after: it has another value when the execution is repeated.
pub fn enter() {
    // SAFETY: the count is a variable of the guest's own; the deadline is memory that the platform has at that address.
    // The port changes no memory of the guest.
    unsafe {
        asm!(
            "mov eax, 1",
            "xadd [{entries}], rax",
            "inc rax",
            "cmp rax, [{deadline}]",
            "je 2f",
            "cmp qword ptr [{deadline}], 0",
            "jne 3f",
            "2:",
            "cmp rax, rax",
            "out dx, al",
            "3:",
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
    // SAFETY: a number of eight bytes, aligned, is read in one instruction.
    unsafe { ENTRIES.0.get().read_volatile() }
}
