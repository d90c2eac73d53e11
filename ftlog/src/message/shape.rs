//! What makes two machines the same machine.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest [`Shape::name`], in bytes.
pub const MAX_VM_NAME: usize = 63;
/// The longest [`Shape::kernel`], in bytes (Linux's PATH_MAX).
pub const MAX_KERNEL: usize = 4096;
/// The longest [`Shape::cmdline`], in bytes: the guest platform keeps 2 KiB for it, NUL included.
pub const MAX_CMDLINE: usize = 2047;
/// The most disks of a machine.
pub const MAX_DISKS: usize = 6;

/// What makes two machines the same machine, and what boots in them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The VM's name; at most [`MAX_VM_NAME`] bytes.
    pub name: String,
    /// The template of the guest's CPU; at most [`MAX_NAME`](super::MAX_NAME) bytes.
    pub cpu: String,
    /// Guest memory, in MiB.
    pub memory_mib: u32,
    /// Number of virtual CPUs.
    pub cpus: u32,
    /// The network device; none without a network.
    pub net: Option<NetShape>,
    /// The disks, in the order of their virtio slots; at most [`MAX_DISKS`].
    pub disks: Vec<DiskShape>,
    /// What was booted, as the command line named it; at most [`MAX_KERNEL`] bytes.
    pub kernel: String,
    /// The guest's command line; at most [`MAX_CMDLINE`] bytes.
    pub cmdline: String,
}

/// What both sides must agree on about the network device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetShape {
    /// Its MAC address.
    pub mac: [u8; 6],
    /// The largest payload of a frame, in bytes, as the guest is told.
    pub mtu: u16,
}

/// What both sides must agree on about a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskShape {
    /// Its size, in sectors of 512 bytes.
    pub sectors: u64,
    /// The guest cannot write it.
    pub readonly: bool,
    /// Where its data are.
    pub mode: DiskMode,
}

/// Where the data of a disk are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskMode {
    /// Each side has a copy of its own and writes it.
    Replicated,
    /// Both sides reach the same file; the live one writes it.
    Shared,
}

impl fmt::Display for DiskMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replicated => "replicated",
            Self::Shared => "shared",
        })
    }
}
