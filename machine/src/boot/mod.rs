//! Getting a kernel to its first instruction: load the image, write what the 64-bit Linux boot protocol wants in
//! memory, set the registers. The layout is the one `guest-images/README.md` promises to guests.

mod entry;
mod image;
mod params;

use std::path::PathBuf;

pub use image::{Image, builtin_names};

use crate::{
    kvm::{KvmError, Vcpu},
    memory::Memory,
};

/// Where the pieces go, all below 1 MiB.
pub(crate) mod layout {
    pub const GDT: u64 = 0x500;
    pub const ZERO_PAGE: u64 = 0x7000;
    pub const PAGE_TABLES: u64 = 0x9000;
    pub const COMMAND_LINE: u64 = 0x2_0000;
    pub const COMMAND_LINE_MAX: usize = 2048;
    pub const LOW_RAM_END: u64 = 0x9_fc00;
    pub const HIGH_RAM: u64 = 0x10_0000;
}

/// Why a guest cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The kernel or initrd cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No guest of that name is built in.
    #[error("there is no built-in guest '{0}'; there are: {1}")]
    UnknownBuiltin(String, String),
    /// The image is no 64-bit ELF file that fits.
    #[error(
        "{path} is not a kernel this monitor can start (an ELF with a 64-bit entry, such as vmlinux): {reason}"
    )]
    Image {
        /// The file, or the built-in's name.
        path: String,
        /// What the loader said.
        reason: String,
    },
    /// The command line is too long.
    #[error("the kernel command line has {0} bytes, more than {max}", max = layout::COMMAND_LINE_MAX - 1)]
    CommandLine(usize),
    /// Something does not fit in the guest's RAM.
    #[error("{what} does not fit in {mib} MiB of guest memory")]
    NoRoom {
        /// What does not fit.
        what: &'static str,
        /// The VM's size.
        mib: u32,
    },
    /// The initial RAM disk would lie on the kernel.
    #[error(
        "the initrd of {initrd} bytes does not fit beside the kernel of {kernel} bytes in {mib} MiB of guest memory: \
         give it a larger --memory"
    )]
    Overlap {
        /// Bytes of the initrd.
        initrd: usize,
        /// Bytes that the kernel takes in memory.
        kernel: u64,
        /// The VM's size.
        mib: u32,
    },
    /// KVM refused the initial registers.
    #[error(transparent)]
    Kvm(#[from] KvmError),
}

/// Loads `image` with its command line and sets the vCPU to its entry.
pub fn load(memory: &Memory, vcpu: &mut Vcpu, image: &Image, command_line: &str) -> Result<(), BootError> {
    let (entry, kernel_end) = image.load(memory)?;
    let initrd = image.load_initrd(memory, kernel_end)?;
    params::write(memory, command_line, initrd)?;
    entry::prepare(memory, vcpu, entry)
}
