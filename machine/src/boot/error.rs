//! Why a guest cannot be started.

use std::path::PathBuf;

use super::layout;
use crate::kvm::KvmError;

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
