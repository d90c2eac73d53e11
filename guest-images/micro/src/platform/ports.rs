//! Port access. Each call is one VM exit.
#![allow(unsafe_code)] // Port instructions have no safe form.

use core::arch::asm;

/// Writes a byte.
pub fn write_u8(port: u16, value: u8) {
    // SAFETY: the platform's ports change no memory of the guest other than the clock page, which Rust does not alias.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack, preserves_flags)) }
}

/// Reads a byte.
pub fn read_u8(port: u16) -> u8 {
    let value;
    // SAFETY: as for `write_u8`.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nostack, preserves_flags)) }
    value
}

/// Writes 32 bits.
pub fn write_u32(port: u16, value: u32) {
    // SAFETY: as for `write_u8`.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack, preserves_flags)) }
}

/// Reads 32 bits.
pub fn read_u32(port: u16) -> u32 {
    let value;
    // SAFETY: as for `write_u8`.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nostack, preserves_flags)) }
    value
}
