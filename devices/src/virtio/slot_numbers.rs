//! Which virtio device is in which slot.

/// The virtio slot of the network device.
pub const NET_SLOT: u8 = 0;
/// The virtio slot of the source of random bytes.
pub const RNG_SLOT: u8 = 1;
/// The virtio slot of the first disk; the others follow it.
pub const FIRST_DISK_SLOT: u8 = 2;
/// Most disks of a VM.
pub const MAX_DISKS: usize = 6;
