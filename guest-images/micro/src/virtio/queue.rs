//! A split queue (virtio 1.2, section 2.7) in which descriptor n always describes buffer n.
#![allow(unsafe_code)] // Buffers are shared with the device.

use alloc::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

/// Descriptors of a queue, and buffers.
pub(super) const QUEUE_SIZE: u16 = 256;
/// Bytes of a buffer: a full Ethernet frame and the virtio-net header fit.
pub(super) const BUFFER_BYTES: usize = 2048;

const SIZE: usize = QUEUE_SIZE as usize;
/// Descriptor flag: the device writes to the buffer.
const WRITE: u16 = 2;

#[repr(C, align(16))]
struct Descriptor {
    address: AtomicU64,
    length: AtomicU32,
    flags: AtomicU16,
    next: AtomicU16,
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
    buffers: [UnsafeCell<[u8; BUFFER_BYTES]>; SIZE],
}

/// Where the parts of a queue lie, as guest-physical addresses.
pub(super) struct QueueAddresses {
    pub descriptors: usize,
    pub available: usize,
    pub used: usize,
}

/// A queue and its buffers, for as long as the guest runs.
pub(super) struct Queue {
    shared: &'static Shared,
    /// Used elements taken so far.
    taken: u16,
    /// Buffers made available so far.
    given: u16,
}

/// A buffer the device is done with.
#[derive(Clone, Copy)]
pub(super) struct Used {
    pub buffer: u16,
    /// Bytes the device wrote.
    pub length: usize,
}

impl Queue {
    /// An empty queue; with `device_writes`, for buffers the device fills.
    pub fn new(device_writes: bool) -> Self {
        let layout = Layout::new::<Shared>();
        // SAFETY: the layout is not empty; all-zero bytes are a valid `Shared`.
        let shared: &'static Shared = unsafe {
            let memory = alloc_zeroed(layout).cast::<Shared>();
            if memory.is_null() {
                handle_alloc_error(layout);
            }
            Box::leak(Box::from_raw(memory))
        };
        for (descriptor, buffer) in shared.descriptors.iter().zip(&shared.buffers) {
            descriptor.address.store(buffer.get().addr() as u64, Ordering::Relaxed);
            descriptor.flags.store(if device_writes { WRITE } else { 0 }, Ordering::Relaxed);
        }
        let mut queue = Self { shared, taken: 0, given: 0 };
        queue.suppress_interrupts();
        queue
    }

    pub fn addresses(&self) -> QueueAddresses {
        QueueAddresses {
            descriptors: (&raw const self.shared.descriptors).addr(),
            available: (&raw const self.shared.available_flags).addr(),
            used: (&raw const self.shared.used_flags).addr(),
        }
    }

    /// The buffer, while it is the driver's: not given, or taken back.
    pub fn buffer(&mut self, index: u16) -> &mut [u8; BUFFER_BYTES] {
        let cell = &self.shared.buffers[usize::from(index)];
        // SAFETY: the device writes only to buffers given to it, and the queue's user asks for its own; `&mut self`
        // keeps the references apart.
        unsafe { &mut *cell.get() }
    }

    /// Gives a buffer to the device, the first `length` bytes of it.
    pub fn give(&mut self, index: u16, length: usize) {
        debug_assert!(length <= BUFFER_BYTES);
        self.shared.descriptors[usize::from(index)].length.store(length as u32, Ordering::Relaxed);
        self.shared.available[usize::from(self.given) % SIZE].store(index, Ordering::Relaxed);
        self.given = self.given.wrapping_add(1);
        self.shared.available_index.store(self.given, Ordering::Release);
    }

    /// The next used buffer, without taking it.
    pub fn peek(&self) -> Option<Used> {
        if self.shared.used_index.load(Ordering::Acquire) == self.taken {
            return None;
        }
        let element = &self.shared.used[usize::from(self.taken) % SIZE];
        let (id, length) =
            (element.id.load(Ordering::Relaxed), element.length.load(Ordering::Relaxed) as usize);
        assert!(id < u32::from(QUEUE_SIZE) && length <= BUFFER_BYTES, "used element {id} of {length} bytes");
        Some(Used { buffer: id as u16, length })
    }

    /// Takes the used buffer last peeked at.
    pub fn take(&mut self) {
        self.taken = self.taken.wrapping_add(1);
    }

    /// Asks for an interrupt when the next buffer is used; whether none is waiting already.
    pub fn request_interrupt(&mut self) -> bool {
        self.shared.used_event.store(self.taken, Ordering::Relaxed);
        // The device must see the request before the driver looks a last time.
        fence(Ordering::SeqCst);
        self.peek().is_none()
    }

    /// Keeps interrupts away for the next 2^15 used buffers: the index asked for is half the circle away.
    pub fn suppress_interrupts(&mut self) {
        self.shared.used_event.store(self.taken.wrapping_sub(1 << 15), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
