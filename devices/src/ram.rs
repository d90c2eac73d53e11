//! The guest's memory, as devices see it.

use vm_memory::{GuestMemoryMmap, bitmap::AtomicBitmap};

/// The guest's RAM. What is written through it is noted page by page, as nobody else sees what a monitor writes: KVM's
/// log of written pages has the guest's writes only.
pub type Ram = GuestMemoryMmap<AtomicBitmap>;
