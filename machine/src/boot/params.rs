//! The zero page and the command line (Linux Documentation/arch/x86/boot.rst and zero-page.rst).

use linux_loader::loader::bootparam::{boot_e820_entry, boot_params};
use vm_memory::{Bytes, GuestAddress};

use super::{error::BootError, layout};
use crate::memory::Memory;

const E820_RAM: u32 = 1;

/// Writes the command line and the zero page that points to it and to the initrd (address, size).
pub fn write(memory: &Memory, command_line: &str, initrd: (u32, u32)) -> Result<(), BootError> {
    let no_room = |what| move |_| BootError::NoRoom { what, mib: memory.mib() };
    if command_line.len() >= layout::COMMAND_LINE_MAX {
        return Err(BootError::CommandLine(command_line.len()));
    }
    let mut text = command_line.as_bytes().to_vec();
    text.push(0);
    let at = GuestAddress(layout::COMMAND_LINE);
    memory.guest().write_slice(&text, at).map_err(no_room("the command line"))?;
    let at = GuestAddress(layout::ZERO_PAGE);
    memory
        .guest()
        .write_obj(zero_page(memory, command_line.len(), initrd), at)
        .map_err(no_room("the zero page"))
}

fn zero_page(memory: &Memory, command_line_length: usize, (initrd, initrd_size): (u32, u32)) -> boot_params {
    let mut params = boot_params::default();
    params.hdr.boot_flag = 0xaa55;
    params.hdr.header = 0x5372_6448; // "HdrS"
    params.hdr.type_of_loader = 0xff; // none of the registered ones
    params.hdr.cmd_line_ptr = layout::COMMAND_LINE as u32;
    params.hdr.cmdline_size = command_line_length as u32;
    params.hdr.ramdisk_image = initrd;
    params.hdr.ramdisk_size = initrd_size;
    // The first range has a gap, where a PC has its firmware.
    let mut ranges = vec![0..layout::LOW_RAM_END, layout::HIGH_RAM..memory.low_end()];
    ranges.extend(memory.ranges().skip(1));
    for (entry, range) in params.e820_table.iter_mut().zip(&ranges) {
        *entry = boot_e820_entry { addr: range.start, size: range.end - range.start, r#type: E820_RAM };
    }
    params.e820_entries = ranges.len() as u8;
    params
}
