//! The virtio-blk driver (virtio 1.2, section 5.2): many requests under way, each with a ticket by which its end is
//! known.
//!
//! Requests wait in the queue until [`Disk::notify`] tells the device of all of them in one exit. Interrupts are off
//! while the guest works, as for the network.
#![allow(unsafe_code)] // Zeroed memory.

mod place;

use alloc::vec::Vec;

use super::mmio::Transport;
use super::rings::{INDIRECT, QUEUE_SIZE, Rings, leak_zeroed};
pub use place::Operation;
use place::Place;

const DEVICE_ID: u32 = 2;
const QUEUE: u32 = 0;

// Feature bits.
const NEEDED: u64 = 1 << 32 | 1 << 29 | 1 << 28 | 1 << 9; // VERSION_1, EVENT_IDX, INDIRECT_DESC, BLK_F_FLUSH
const READ_ONLY: u64 = 1 << 5;
const WRITE_ZEROES: u64 = 1 << 14;

/// Bytes of a sector, the unit of all addresses.
pub const SECTOR_BYTES: usize = 512;
/// Most bytes of a request.
pub const MOST_BYTES: usize = 4096;
/// Most requests under way.
pub const MOST_REQUESTS: usize = 64;

/// Descriptors of the queue's table for each request: header, data, status.
const DESCRIPTORS: u16 = 3;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Well; with what was read.
    Done(&'a [u8]),
    /// The device could not do it.
    Failed,
}

/// A disk at work.
pub struct Disk {
    transport: Transport,
    rings: Rings,
    places: &'static mut [Place; MOST_REQUESTS],
    free: Vec<u16>,
    features: u64,
    submitted: u64,
    untold: bool,
}

impl Disk {
    /// The disk in `slot`, started; `None` when there is no such device or it lacks what the driver needs.
    pub fn start(slot: usize) -> Option<Self> {
        let transport = Transport::find(slot, DEVICE_ID)?;
        let features = transport.negotiate(NEEDED, NEEDED | READ_ONLY | WRITE_ZEROES)?;
        let rings = Rings::new();
        if !transport.set_up_queue(QUEUE, u32::from(QUEUE_SIZE), rings.addresses()) {
            return None;
        }
        transport.start();
        Some(Self {
            transport,
            rings,
            // SAFETY: all-zero bytes are valid places.
            places: unsafe { leak_zeroed() },
            free: (0..MOST_REQUESTS as u16).rev().collect(),
            features,
            submitted: 0,
            untold: false,
        })
    }

    /// Size of the disk, in sectors.
    pub fn sectors(&self) -> u64 {
        self.transport.config_u64(0)
    }

    /// Whether the disk refuses writes.
    pub fn is_read_only(&self) -> bool {
        self.features & READ_ONLY != 0
    }

    /// Whether the disk takes [`Operation::WriteZeroes`].
    pub fn has_write_zeroes(&self) -> bool {
        self.features & WRITE_ZEROES != 0
    }

    /// Whether a further request can be submitted.
    pub fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Puts a request into the queue; `ticket` comes back when it has ended.
    ///
    /// # Panics
    /// When there is no room, or the request is longer than it may be.
    pub fn submit(&mut self, ticket: u64, operation: Operation) {
        let index = self.free.pop().expect("the caller looks for room");
        let (place, head) = (&mut self.places[usize::from(index)], DESCRIPTORS * index);
        place.fill(ticket, operation);
        // Both kinds of chain in turn, so that a device must know both: a table of the request's own that describes
        // each sector by itself, or the queue's table with the data as one buffer.
        if self.submitted.is_multiple_of(2) {
            let (table, length) = place.describe_in_table();
            self.rings.descriptor(head).set(table, length, INDIRECT, 0);
        } else {
            place.describe(MOST_BYTES, head, |link| self.rings.descriptor(link));
        }
        self.rings.give(head);
        self.submitted += 1;
        self.untold = true;
    }

    /// Tells the device of what was submitted since the last call: one exit, or none when there is nothing.
    pub fn notify(&mut self) {
        if core::mem::take(&mut self.untold) {
            self.transport.notify(QUEUE);
        }
    }

    /// The next request that has ended: its ticket and how it ended.
    pub fn next_ended(&mut self) -> Option<(u64, Outcome<'_>)> {
        let used = self.rings.peek()?;
        self.rings.take();
        let index = used.head / DESCRIPTORS;
        assert!(
            used.head.is_multiple_of(DESCRIPTORS)
                && usize::from(index) < MOST_REQUESTS
                && !self.free.contains(&index),
            "used element {} of no request",
            used.head
        );
        self.free.push(index);
        Some(self.places[usize::from(index)].ended(used.length))
    }

    /// Whether a request has ended that was not taken.
    pub fn has_ended(&self) -> bool {
        self.rings.peek().is_some()
    }

    /// Asks for an interrupt when a request ends; whether none has already, so that the guest may sleep.
    pub fn request_interrupt(&mut self) -> bool {
        self.rings.request_interrupt()
    }

    /// Works without interrupts from here on.
    pub fn suppress_interrupts(&mut self) {
        self.rings.suppress_interrupts();
    }
}
