//! A split queue (virtio 1.2, section 2.7) in which descriptor n always describes buffer n.
#![allow(unsafe_code)] // Buffers are shared with the device.

use core::cell::UnsafeCell;

pub(super) use super::rings::QUEUE_SIZE;
use super::rings::{QueueAddresses, Rings, Used, WRITE, leak_zeroed};

/// Bytes of a buffer: a full Ethernet frame and the virtio-net header fit.
pub(super) const BUFFER_BYTES: usize = 2048;

/// What the descriptors describe.
#[repr(C, align(4096))]
struct Buffers([UnsafeCell<[u8; BUFFER_BYTES]>; QUEUE_SIZE as usize]);

/// A queue and its buffers, for as long as the guest runs.
pub(super) struct Queue {
    rings: Rings,
    buffers: &'static Buffers,
}

impl Queue {
    /// An empty queue; with `device_writes`, for buffers the device fills.
    pub fn new(device_writes: bool) -> Self {
        // SAFETY: all-zero bytes are valid buffers.
        let (rings, buffers) = (Rings::new(), unsafe { leak_zeroed::<Buffers>() });
        for (index, buffer) in (0..QUEUE_SIZE).zip(&buffers.0) {
            let flags = if device_writes { WRITE } else { 0 };
            rings.descriptor(index).set(buffer.get().addr(), 0, flags, 0);
        }
        Self { rings, buffers }
    }

    pub fn addresses(&self) -> QueueAddresses {
        self.rings.addresses()
    }

    /// The buffer, while it is the driver's: not given, or taken back.
    pub fn buffer(&mut self, index: u16) -> &mut [u8; BUFFER_BYTES] {
        let cell = &self.buffers.0[usize::from(index)];
        // SAFETY: the device writes only to buffers given to it, and the queue's user asks for its own; `&mut self`
        // keeps the references apart.
        unsafe { &mut *cell.get() }
    }

    /// Gives a buffer to the device, the first `length` bytes of it.
    pub fn give(&mut self, index: u16, length: usize) {
        debug_assert!(length <= BUFFER_BYTES);
        self.rings.descriptor(index).set_length(length);
        self.rings.give(index);
    }

    /// The next used buffer, without taking it: `head` is its index.
    pub fn peek(&self) -> Option<Used> {
        let used = self.rings.peek()?;
        assert!(used.length <= BUFFER_BYTES, "used element {} of {} bytes", used.head, used.length);
        Some(used)
    }

    /// Takes the used buffer last peeked at.
    pub fn take(&mut self) {
        self.rings.take();
    }

    /// Asks for an interrupt when the next buffer is used; whether none is waiting already.
    pub fn request_interrupt(&mut self) -> bool {
        self.rings.request_interrupt()
    }

    /// Works without interrupts from here on.
    pub fn suppress_interrupts(&mut self) {
        self.rings.suppress_interrupts();
    }
}

#[cfg(test)]
mod tests;
