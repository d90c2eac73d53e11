//! Tests of the queue against a device that works on the shared memory by address alone.

use core::slice;
use core::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use super::*;

/// The device's side.
struct Device {
    addresses: QueueAddresses,
    seen: u16,
    used: u16,
}

impl Device {
    fn of(queue: &Queue) -> Self {
        Self { addresses: queue.addresses(), seen: 0, used: 0 }
    }

    fn u16_at(address: usize) -> &'static AtomicU16 {
        // SAFETY: the tests use addresses of fields of the shared memory, which lives on.
        unsafe { AtomicU16::from_ptr(address as *mut u16) }
    }

    fn u32_at(address: usize) -> &'static AtomicU32 {
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr(address as *mut u32) }
    }

    /// The next available descriptor: its number, and its buffer.
    fn next(&mut self) -> Option<(u16, &'static mut [u8])> {
        let available = self.addresses.available;
        if Self::u16_at(available + 2).load(Ordering::Acquire) == self.seen {
            return None;
        }
        let id = Self::u16_at(available + 4 + usize::from(self.seen % 256) * 2).load(Ordering::Relaxed);
        self.seen = self.seen.wrapping_add(1);
        let descriptor = self.addresses.descriptors + usize::from(id) * 16;
        let length = Self::u32_at(descriptor + 8).load(Ordering::Relaxed) as usize;
        // SAFETY: the descriptor holds the address and length of a buffer that is the device's now.
        let buffer = unsafe { slice::from_raw_parts_mut(*(descriptor as *const usize) as *mut u8, length) };
        Some((id, buffer))
    }

    /// Returns a buffer; whether that interrupts (virtio 1.2, section 2.7.10).
    fn give_back(&mut self, id: u16, length: u32) -> bool {
        let element = self.addresses.used + 4 + usize::from(self.used % 256) * 8;
        Self::u32_at(element).store(u32::from(id), Ordering::Relaxed);
        Self::u32_at(element + 4).store(length, Ordering::Relaxed);
        let event = Self::u16_at(self.addresses.available + 4 + 512).load(Ordering::Relaxed);
        let interrupt = event == self.used;
        self.used = self.used.wrapping_add(1);
        Self::u16_at(self.addresses.used + 2).store(self.used, Ordering::Release);
        interrupt
    }
}

#[test]
fn buffers_travel_around_the_rings_many_times() {
    let mut queue = Queue::new(true);
    let mut device = Device::of(&queue);
    for buffer in 0..QUEUE_SIZE {
        queue.give(buffer, BUFFER_BYTES);
    }
    for round in 0..200_000u32 {
        let (id, buffer) = device.next().expect("a buffer is given after each round");
        buffer[..4].copy_from_slice(&round.to_le_bytes());
        assert!(queue.peek().is_none());
        assert!(!device.give_back(id, 4), "interrupts are suppressed");
        let used = queue.peek().expect("the device returned a buffer");
        queue.take();
        assert_eq!((used.head, used.length), (id, 4));
        assert_eq!(queue.buffer(id)[..4], round.to_le_bytes());
        queue.give(id, BUFFER_BYTES);
        if round % 10_000 == 0 {
            queue.suppress_interrupts();
        }
    }
}

#[test]
fn an_interrupt_comes_for_the_next_buffer_only_when_asked_for() {
    let mut queue = Queue::new(false);
    let mut device = Device::of(&queue);
    (0..4).for_each(|buffer| queue.give(buffer, 100));
    let mut use_next = || {
        let (id, buffer) = device.next().expect("a buffer");
        assert_eq!(buffer.len(), 100);
        device.give_back(id, 0)
    };
    assert!(!use_next());
    assert!(!queue.request_interrupt(), "a buffer is waiting");
    queue.take();
    assert!(queue.request_interrupt());
    assert!(use_next());
    assert!(!use_next());
    queue.suppress_interrupts();
    assert!(!use_next());
}

#[test]
#[should_panic(expected = "used element 256")]
fn a_buffer_that_does_not_exist_is_a_panic() {
    let queue = Queue::new(false);
    Device::of(&queue).give_back(256, 0);
    queue.peek();
}
