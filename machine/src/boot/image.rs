//! Kernel images: ELF files, and the guests that are embedded in this program.

use std::{io::Cursor, path::Path};

use linux_loader::loader::{KernelLoader, elf::Elf};
use vm_memory::{Bytes, GuestAddress};

use super::{error::BootError, layout};
use crate::{
    bounded,
    memory::{Memory, PAGE_SIZE},
};

/// Name and ELF file of each embedded guest, made by `build.rs` from `guest-images/micro`.
const BUILTIN: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// The longest kernel or initrd that is read, bytes: a kernel with all that a debugger wants to know is below it.
const MAX_FILE: u64 = 1 << 30;

/// The names that may follow `builtin:`.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}

/// A kernel and its initial RAM disk, read into host memory.
pub struct Image {
    name: String,
    kernel: Vec<u8>,
    initrd: Option<Vec<u8>>,
}

impl Image {
    /// Reads `kernel`, a path or `builtin:NAME`, and `initrd`.
    pub fn open(kernel: &str, initrd: Option<&Path>) -> Result<Self, BootError> {
        let bytes = match kernel.strip_prefix("builtin:") {
            Some(name) => builtin(name)?.to_vec(),
            None => read(Path::new(kernel))?,
        };
        let initrd = initrd.map(read).transpose()?;
        Ok(Self { name: kernel.to_owned(), kernel: bytes, initrd })
    }

    /// Copies the kernel's segments into guest memory; returns the entry point, and where the kernel ends.
    pub(super) fn load(&self, memory: &Memory) -> Result<(u64, u64), BootError> {
        if !is_x86_64_elf(&self.kernel) {
            let reason = "no ELF header of a 64-bit x86-64 file".to_owned();
            return Err(BootError::Image { path: self.name.clone(), reason });
        }
        let start = Some(GuestAddress(layout::HIGH_RAM));
        match Elf::load(memory.guest(), None, &mut Cursor::new(&self.kernel), start) {
            Ok(loaded) => Ok((loaded.kernel_load.0, loaded.kernel_end)),
            Err(error) => Err(BootError::Image { path: self.name.clone(), reason: error.to_string() }),
        }
    }

    /// Copies the initial RAM disk to the top of the memory below the hole, above the kernel, which ends at `kernel_end`; returns its
    /// address and size, zero when there is none.
    pub(super) fn load_initrd(&self, memory: &Memory, kernel_end: u64) -> Result<(u32, u32), BootError> {
        let Some(initrd) = &self.initrd else { return Ok((0, 0)) };
        let no_room = || BootError::NoRoom { what: "the initrd", mib: memory.mib() };
        let top = memory.low_end();
        let start = top.checked_sub(initrd.len() as u64).ok_or_else(no_room)? & !(PAGE_SIZE as u64 - 1);
        if start < layout::HIGH_RAM {
            return Err(no_room());
        }
        if start < kernel_end {
            let (initrd, kernel) = (initrd.len(), kernel_end - layout::HIGH_RAM);
            return Err(BootError::Overlap { initrd, kernel, mib: memory.mib() });
        }
        memory.guest().write_slice(initrd, GuestAddress(start)).map_err(|_| no_room())?;
        Ok((start as u32, initrd.len() as u32))
    }
}

/// Magic, class, byte order and machine of the ELF header (System V ABI, chapter 4), which the loader does not check.
fn is_x86_64_elf(file: &[u8]) -> bool {
    const LITTLE_ENDIAN_64: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
    const X86_64: [u8; 2] = 62u16.to_le_bytes();
    file.starts_with(&LITTLE_ENDIAN_64) && file.get(18..20) == Some(&X86_64)
}

fn builtin(name: &str) -> Result<&'static [u8], BootError> {
    let found = BUILTIN.iter().find(|(known, _)| *known == name);
    found.map(|(_, bytes)| *bytes).ok_or_else(|| {
        let names: Vec<_> = builtin_names().collect();
        BootError::UnknownBuiltin(name.to_owned(), names.join(", "))
    })
}

fn read(path: &Path) -> Result<Vec<u8>, BootError> {
    bounded::read(path, MAX_FILE).map_err(|source| BootError::Read { path: path.to_owned(), source })
}
