//! What the monitor says at entry: the command line and the memory map, in the zero page.
#![allow(unsafe_code)] // Reads memory the monitor filled in before the guest began.

use core::ops::Range;
use core::slice;
use core::sync::atomic::{AtomicUsize, Ordering};

// Offsets in the zero page: Linux's Documentation/arch/x86/zero-page.rst.
const E820_ENTRIES: usize = 0x1e8;
const COMMAND_LINE_POINTER: usize = 0x228;
const E820_TABLE: usize = 0x2d0;
const E820_ENTRY_BYTES: usize = 20;
const E820_RAM: u32 = 1;
const E820_MOST_ENTRIES: usize = 128;

/// Longest command line, its NUL included.
const COMMAND_LINE_BYTES: usize = 2048;

static ADDRESS: AtomicUsize = AtomicUsize::new(0);

/// Remembers where the zero page is; the boot code calls it once, before the program starts.
pub(crate) fn set_address(address: usize) {
    ADDRESS.store(address, Ordering::Relaxed);
}

/// Reads a little-endian value of the zero page.
fn field<T: Copy>(offset: usize) -> T {
    let address = ADDRESS.load(Ordering::Relaxed) + offset;
    // SAFETY: the zero page is RAM that nothing writes after entry; the callers read plain integers inside it.
    unsafe { (address as *const T).read_unaligned() }
}

/// The command line, without its NUL; empty when it is not UTF-8.
pub fn command_line() -> &'static str {
    let start = field::<u32>(COMMAND_LINE_POINTER) as usize as *const u8;
    if start.is_null() {
        return "";
    }
    // SAFETY: the monitor keeps `COMMAND_LINE_BYTES` there for the command line, and nothing writes them after entry.
    let bytes = unsafe { slice::from_raw_parts(start, COMMAND_LINE_BYTES) };
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(0);
    str::from_utf8(&bytes[..end]).unwrap_or("")
}

/// RAM behind the guest's image, as addresses: the heap of whoever asks first. Empty if the memory map has no such.
pub fn memory_behind_image() -> Range<usize> {
    unsafe extern "C" {
        /// End of the image, page-aligned; kept by the boot code.
        static guest_image_end: usize;
    }
    // SAFETY: nothing writes it.
    let image = unsafe { guest_image_end };
    for index in 0..usize::from(field::<u8>(E820_ENTRIES)).min(E820_MOST_ENTRIES) {
        let entry = E820_TABLE + index * E820_ENTRY_BYTES;
        let start = field::<u64>(entry) as usize;
        let end = start.saturating_add(field::<u64>(entry + 8) as usize);
        if field::<u32>(entry + 16) == E820_RAM && (start..end).contains(&image) {
            return image..end;
        }
    }
    image..image
}
