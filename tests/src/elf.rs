//! Guests of a few bytes: machine code in an ELF file.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

/// Where the code is loaded and entered.
pub const ENTRY: u64 = 0x10_0000;
/// Where the interrupt gates of [`Guest::with_fault_handler`] are.
const GATES: u32 = ENTRY as u32 + 0x1000;
/// What `LIDT` reads: limit and base of the gates.
const GATES_POINTER: u32 = ENTRY as u32 + 0x1800;
/// The handlers of the faults, 16 bytes each.
const HANDLERS: u32 = ENTRY as u32 + 0x1900;
/// Vector of the fault that an instruction raises which is not there.
pub const INVALID_OPCODE: u8 = 6;
/// Vector of a general protection fault.
pub const GENERAL_PROTECTION: u8 = 13;
/// End of the stack.
const STACK: u32 = 0x18_0000;

/// An ELF file in a directory of its own.
pub struct Guest {
    _directory: TempDir,
    /// The file.
    pub path: PathBuf,
}

impl Guest {
    /// A file with these bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let directory = TempDir::with_prefix("ftvmm-test-").unwrap();
        let path = directory.path().join("guest.elf");
        fs::write(&path, bytes).unwrap();
        Self { _directory: directory, path }
    }

    /// A guest that runs `code` at CPL0, interrupts off, without interrupt gates.
    pub fn of_code(code: &[u8]) -> Self {
        Self::of_bytes(&elf(ENTRY, code))
    }

    /// A guest that runs `code`, and then powers off with status 0; at an invalid opcode or a general protection
    /// fault with the status that its vector is.
    pub fn with_fault_handler(code: &[u8]) -> Self {
        let load_gates = [&[0x0f, 0x01, 0x1c, 0x25][..], &GATES_POINTER.to_le_bytes()].concat();
        let set_stack = [&[0xbc][..], &STACK.to_le_bytes()].concat();
        let mut image = [&load_gates, &set_stack, code, &power_off(0)].concat();
        assert!(image.len() < 0x1000, "the gates follow");
        let mut put = |address: u32, bytes: &[u8]| {
            image.resize(address as usize - ENTRY as usize, 0);
            image.extend_from_slice(bytes);
        };
        for vector in [INVALID_OPCODE, GENERAL_PROTECTION] {
            put(GATES + 16 * u32::from(vector), &gate(HANDLERS + 16 * u32::from(vector)));
        }
        let limit = 16 * (u16::from(GENERAL_PROTECTION) + 1) - 1;
        put(GATES_POINTER, &[&limit.to_le_bytes()[..], &u64::from(GATES).to_le_bytes()].concat());
        for vector in [INVALID_OPCODE, GENERAL_PROTECTION] {
            put(HANDLERS + 16 * u32::from(vector), &power_off(vector.into()));
        }
        Self::of_code(&image)
    }

    /// The file's name as an option's value.
    pub fn kernel(&self) -> String {
        self.path.display().to_string()
    }
}

/// `mov eax, status; mov dx, 0x540; out dx, eax`
pub fn power_off(status: u32) -> Vec<u8> {
    [&[0xb8][..], &status.to_le_bytes(), &[0x66, 0xba, 0x40, 0x05, 0xef]].concat()
}

/// A 64-bit interrupt gate to code at CPL0 (SDM volume 3, section 7.14.1).
fn gate(handler: u32) -> [u8; 16] {
    let [h0, h1, h2, h3] = handler.to_le_bytes();
    [h0, h1, 0x10, 0, 0, 0x8e, h2, h3, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// A 32-bit ELF file with one segment, loaded and entered at [`ENTRY`].
pub fn elf_of_32_bits(code: &[u8]) -> Vec<u8> {
    const HEADER: u16 = 52;
    const SEGMENT: u16 = 32;
    let (address, offset, length) = (ENTRY as u32, u32::from(HEADER + SEGMENT), code.len() as u32);
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([2u16, 3].map(u16::to_le_bytes).concat()); // executable, 80386
    file.extend([1, address, HEADER.into(), 0, 0].map(u32::to_le_bytes).concat());
    file.extend([HEADER, SEGMENT, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    file.extend([1, offset, address, address, length, length, 7, 4096].map(u32::to_le_bytes).concat());
    file.extend_from_slice(code);
    file
}

/// A 64-bit ELF file with one segment, loaded and entered at `address`.
pub fn elf(address: u64, code: &[u8]) -> Vec<u8> {
    const HEADER: u16 = 64;
    const SEGMENT: u16 = 56;
    let (offset, length) = (u64::from(HEADER + SEGMENT), code.len() as u64);
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([2u16, 62].map(u16::to_le_bytes).concat()); // executable, x86-64
    file.extend(1u32.to_le_bytes());
    file.extend([address, HEADER.into(), 0].map(u64::to_le_bytes).concat()); // entry, segments, no sections
    file.extend(0u32.to_le_bytes());
    file.extend([HEADER, SEGMENT, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    file.extend([1u32, 7].map(u32::to_le_bytes).concat()); // loadable; read, write, execute
    file.extend([offset, address, address, length, length, 4096].map(u64::to_le_bytes).concat());
    file.extend_from_slice(code);
    file
}
