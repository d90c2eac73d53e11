//! The rings of a split queue (virtio 1.2, section 2.7). What its descriptors describe is their user's affair.
#![allow(unsafe_code)] // Memory shared with the device.

use alloc::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

/// Descriptors of a queue, and places of its rings.
pub(super) const QUEUE_SIZE: u16 = 256;

const SIZE: usize = QUEUE_SIZE as usize;

/// Descriptor flag: the chain goes on at `next`.
pub(super) const NEXT: u16 = 1;
/// Descriptor flag: the device writes to the buffer.
pub(super) const WRITE: u16 = 2;
/// Descriptor flag: the buffer holds a table of descriptors.
pub(super) const INDIRECT: u16 = 4;

/// A buffer, or a link of a chain of them.
#[repr(C, align(16))]
pub(super) struct Descriptor {
    address: AtomicU64,
    length: AtomicU32,
    flags: AtomicU16,
    next: AtomicU16,
}

impl Descriptor {
    /// Sets all of it; `next` means something with the flag [`NEXT`] only.
    pub fn set(&self, address: usize, length: usize, flags: u16, next: u16) {
        self.address.store(address as u64, Ordering::Relaxed);
        self.set_length(length);
        self.flags.store(flags, Ordering::Relaxed);
        self.next.store(next, Ordering::Relaxed);
    }

    pub fn set_length(&self, length: usize) {
        self.length.store(length as u32, Ordering::Relaxed);
    }
}

#[repr(C, align(4))]
struct UsedElement {
    id: AtomicU32,
    length: AtomicU32,
}

/// What driver and device share. All-zero is an empty queue.
#[repr(C, align(4096))]
struct Shared {
    descriptors: [Descriptor; SIZE],
    available_flags: AtomicU16,
    available_index: AtomicU16,
    available: [AtomicU16; SIZE],
    /// The device interrupts when its index passes this one.
    used_event: AtomicU16,
    padding: AtomicU16,
    used_flags: AtomicU16,
    used_index: AtomicU16,
    used: [UsedElement; SIZE],
    available_event: AtomicU16,
}

/// Where the parts of a queue lie, as guest-physical addresses.
pub(super) struct QueueAddresses {
    pub descriptors: usize,
    pub available: usize,
    pub used: usize,
}

/// The rings of a queue, for as long as the guest runs.
pub(super) struct Rings {
    shared: &'static Shared,
    /// Used elements taken so far.
    taken: u16,
    /// Chains made available so far.
    given: u16,
}

/// A chain the device is done with.
#[derive(Clone, Copy)]
pub(super) struct Used {
    /// Its first descriptor.
    pub head: u16,
    /// Bytes the device wrote.
    pub length: usize,
}

impl Rings {
    pub fn new() -> Self {
        // SAFETY: all-zero bytes are a valid `Shared`, which holds integers only.
        let mut rings = Self { shared: unsafe { leak_zeroed() }, taken: 0, given: 0 };
        rings.suppress_interrupts();
        rings
    }

    pub fn addresses(&self) -> QueueAddresses {
        QueueAddresses {
            descriptors: (&raw const self.shared.descriptors).addr(),
            available: (&raw const self.shared.available_flags).addr(),
            used: (&raw const self.shared.used_flags).addr(),
        }
    }

    /// A descriptor of the queue's table.
    pub fn descriptor(&self, index: u16) -> &Descriptor {
        &self.shared.descriptors[usize::from(index)]
    }

    /// Gives the chain that begins at `head` to the device.
    pub fn give(&mut self, head: u16) {
        self.shared.available[usize::from(self.given) % SIZE].store(head, Ordering::Relaxed);
        self.given = self.given.wrapping_add(1);
        self.shared.available_index.store(self.given, Ordering::Release);
    }

    /// The next used chain, without taking it.
    pub fn peek(&self) -> Option<Used> {
        if self.shared.used_index.load(Ordering::Acquire) == self.taken {
            return None;
        }
        let element = &self.shared.used[usize::from(self.taken) % SIZE];
        let (id, length) =
            (element.id.load(Ordering::Relaxed), element.length.load(Ordering::Relaxed) as usize);
        assert!(id < u32::from(QUEUE_SIZE), "used element {id} of {length} bytes");
        Some(Used { head: id as u16, length })
    }

    /// Takes the used chain last peeked at.
    pub fn take(&mut self) {
        self.taken = self.taken.wrapping_add(1);
    }

    /// Asks for an interrupt when the next chain is used; whether none is waiting already.
    pub fn request_interrupt(&mut self) -> bool {
        self.shared.used_event.store(self.taken, Ordering::Relaxed);
        // The device must see the request before the driver looks a last time.
        fence(Ordering::SeqCst);
        self.peek().is_none()
    }

    /// Keeps interrupts away for the next 2^15 used chains: the index asked for is half the circle away.
    pub fn suppress_interrupts(&mut self) {
        self.shared.used_event.store(self.taken.wrapping_sub(1 << 15), Ordering::Relaxed);
    }
}

/// Zeroed memory for as long as the guest runs.
///
/// # Safety
/// All-zero bytes must be a valid `T`, which is not empty.
pub(super) unsafe fn leak_zeroed<T>() -> &'static mut T {
    let layout = Layout::new::<T>();
    // SAFETY: the caller keeps the contract: the layout is not empty, and zeroes are a `T`.
    unsafe {
        let memory = alloc_zeroed(layout).cast::<T>();
        if memory.is_null() {
            handle_alloc_error(layout);
        }
        Box::leak(Box::from_raw(memory))
    }
}
