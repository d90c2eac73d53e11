//! An interrupt handler that counts an entry, as an operating system's does, and so may make an exit.

use core::arch::global_asm;
use core::ptr;

use super::PENDING;
use crate::platform::entry_clock::{DEADLINE, ENTRIES, PORT};

/// Vector 32 is line 0; a gate has 16 bytes, and the handler's address is in bytes 0, 1 and 4 to 7 of it.
const VECTOR: usize = 32;
const GATE: usize = 16;

unsafe extern "C" {
    static mut guest_idt: [u8; 64 * GATE];
    fn counted_interrupt();
}

global_asm!(
    r#"
    .section .text.guest_boot, "ax"
    .global counted_interrupt
counted_interrupt:
    push rax
    push rdx
"#,
    crate::entry_instructions!(),
    r#"
    or dword ptr [rip + {pending}], 1
    pop rdx
    pop rax
    iretq
    .text
"#,
    entries = sym ENTRIES,
    deadline = const DEADLINE,
    port = const PORT,
    pending = sym PENDING,
);

/// From now on interrupts of line 0 count as entries.
pub fn count_interrupts() {
    let handler = counted_interrupt as *const () as u64;
    // SAFETY: the table is this guest's, and no interrupt of that line is let through yet.
    unsafe {
        let gate = ptr::addr_of_mut!(guest_idt).cast::<u8>().add(VECTOR * GATE);
        gate.cast::<u16>().write_volatile(handler as u16);
        gate.add(4).cast::<u32>().write_unaligned((handler as u32 & 0xffff_0000) | 0x8e00);
    }
}
