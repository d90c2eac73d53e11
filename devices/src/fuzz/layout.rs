//! What the guest under test finds where.

pub(super) const RAM_SIZE: usize = 0x1_0000;
pub(super) const SLOTS_BASE: u64 = 0xd000_0000;
pub(super) const DISK_SECTORS: u64 = 64;
