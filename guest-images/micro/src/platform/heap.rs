//! The heap: all RAM behind the guest's image.
#![allow(unsafe_code)] // A global allocator is an unsafe trait.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering};

use talc::TalcCell;
use talc::source::Manual;

use super::boot_params;

struct Heap(TalcCell<Manual>);

// SAFETY: a guest has one vCPU and no threads, and its interrupt handlers do not allocate.
unsafe impl Sync for Heap {}

static HEAP: Heap = Heap(TalcCell::new(Manual));
static BYTES: AtomicUsize = AtomicUsize::new(0);

/// The guests' global allocator; the [`guest`](crate::guest) macro installs it.
pub struct Allocator;

// SAFETY: forwards every call unchanged to an allocator that keeps the contract.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of the same method.
        unsafe { HEAP.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { HEAP.0.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe { HEAP.0.realloc(memory, layout, new_size) }
    }
}

/// Gives the RAM behind the image to the heap; called once, before the program starts.
pub(crate) fn start() {
    let memory = boot_params::memory_behind_image();
    // SAFETY: RAM that neither the image nor the monitor uses, handed over once. Too little of it leaves an empty
    // heap, from which allocations fail.
    unsafe { HEAP.0.claim(memory.start as *mut u8, memory.len()) };
    BYTES.store(memory.len(), Ordering::Relaxed);
}

/// Size of the heap in bytes.
pub fn bytes() -> usize {
    BYTES.load(Ordering::Relaxed)
}
