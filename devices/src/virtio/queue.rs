//! A split virtqueue (virtio 1.2, section 2.7), on top of the `virtio-queue` crate.
//!
//! That crate is lenient where a driver misbehaves: it ignores misaligned addresses and ends a broken chain
//! silently. Here both are a [`Violation`].

use serde::{Deserialize, Serialize};
use virtio_bindings::bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{DescriptorChain, Queue as Rings, QueueOwnedT, QueueState as RingsState, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};

use super::violation::Violation;
use crate::ram::Ram;

/// Most descriptors in a queue.
pub(crate) const MAX_SIZE: u16 = 256;

/// One virtqueue of a device.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Which queue of its device this is.
    index: u16,
    /// As the driver wrote them; checked when the queue is enabled.
    pub(super) registers: QueueRegisters,
    /// Present while the queue is enabled.
    rings: Option<Rings>,
}

/// The queue's registers of the transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRegisters {
    /// Number of descriptors.
    pub size: u32,
    /// Guest-physical address of the descriptor table.
    pub descriptors: u64,
    /// Guest-physical address of the available ring.
    pub available: u64,
    /// Guest-physical address of the used ring.
    pub used: u64,
}

/// Saved state of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// The transport's registers.
    pub registers: QueueRegisters,
    /// Next indices in the available and the used ring, while the queue is enabled.
    pub next: Option<(u16, u16)>,
}

/// A buffer of a chain, copied out of the descriptor table and known to be in RAM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffer {
    pub address: GuestAddress,
    pub len: u32,
    /// The device may write it, and only write it.
    pub writable: bool,
}

impl Buffer {
    /// It cannot be accessed after all.
    pub(crate) fn outside_ram(&self, queue: u16, head: u16) -> Violation {
        Violation::BufferOutsideRam { queue, head, address: self.address.0, len: self.len }
    }
}

impl Queue {
    pub(crate) fn new(index: u16) -> Self {
        let registers = QueueRegisters { size: u32::from(MAX_SIZE), descriptors: 0, available: 0, used: 0 };
        Queue { index, registers, rings: None }
    }

    pub(crate) fn index(&self) -> u16 {
        self.index
    }

    pub(crate) fn enabled(&self) -> bool {
        self.rings.is_some()
    }

    /// Number of descriptors, 0 while the queue is not enabled.
    pub(crate) fn size(&self) -> u16 {
        self.rings.as_ref().map_or(0, Rings::size)
    }

    /// Checks the registers and starts at the beginning of the rings.
    pub(crate) fn enable(&mut self, memory: &Ram, event_idx: bool) -> Result<(), Violation> {
        self.start_at((0, 0), memory, event_idx)
    }

    pub(crate) fn disable(&mut self) {
        self.rings = None;
    }

    fn start_at(&mut self, next: (u16, u16), memory: &Ram, event_idx: bool) -> Result<(), Violation> {
        let QueueRegisters { size, descriptors, available, used } = self.registers;
        let state = RingsState {
            max_size: MAX_SIZE,
            next_avail: next.0,
            next_used: next.1,
            event_idx_enabled: event_idx,
            // A size that does not fit becomes 0, which is refused like any other wrong size.
            size: u16::try_from(size).unwrap_or(0),
            ready: true,
            desc_table: descriptors,
            avail_ring: available,
            used_ring: used,
        };
        self.rings = Rings::try_from(state).ok().filter(|rings| rings.is_valid(memory));
        let refused = Violation::QueueSetup { queue: self.index, size, descriptors, available, used };
        self.rings.is_some().then_some(()).ok_or(refused)
    }

    /// How many chains the driver has made available. An index that breaks the protocol counts as a chain, so
    /// that the next use of the queue finds it.
    pub(crate) fn available(&self, memory: &Ram) -> usize {
        let Some(rings) = &self.rings else { return 0 };
        let index = rings.avail_idx(memory, std::sync::atomic::Ordering::Acquire);
        let count = index.map_or(1, |index| index.0.wrapping_sub(rings.next_avail()));
        usize::from(count.min(rings.size()))
    }

    /// Takes the next available chain: its head is returned, its buffers replace what is in `buffers`.
    pub(crate) fn pop(&mut self, memory: &Ram, buffers: &mut Vec<Buffer>) -> Result<Option<u16>, Violation> {
        buffers.clear();
        let Some(rings) = &mut self.rings else { return Ok(None) };
        let (queue, next) = (self.index, rings.next_avail());
        let mut iter = rings.iter(memory).map_err(|error| match error {
            virtio_queue::Error::InvalidAvailRingIndex => Violation::AvailableIndex { queue, next },
            _ => Violation::RingAccess { queue },
        })?;
        let Some(chain) = iter.next() else { return Ok(None) };
        let head = chain.head_index();
        self.copy_out(chain, memory, buffers)?;
        Ok(Some(head))
    }

    fn copy_out(
        &self,
        chain: DescriptorChain<&Ram>,
        memory: &Ram,
        buffers: &mut Vec<Buffer>,
    ) -> Result<(), Violation> {
        let (queue, head) = (self.index, chain.head_index());
        let mut ended = false;
        for descriptor in chain {
            // An indirect table may be longer than the queue, a chain must not.
            if buffers.len() == usize::from(self.size()) {
                return Err(Violation::ChainTooLong { queue, head });
            }
            buffers.push(self.check_buffer(head, &descriptor, memory)?);
            ended = !descriptor.has_next();
        }
        // The iterator also stops where the chain is broken, and then the last descriptor had a successor.
        if ended { Ok(()) } else { Err(Violation::ChainWithoutEnd { queue, head }) }
    }

    fn check_buffer(&self, head: u16, descriptor: &Descriptor, memory: &Ram) -> Result<Buffer, Violation> {
        let (address, len) = (descriptor.addr(), descriptor.len());
        if !memory.check_range(address, len as usize, Permissions::ReadWrite) {
            return Err(Violation::BufferOutsideRam { queue: self.index, head, address: address.0, len });
        }
        Ok(Buffer { address, len, writable: descriptor.is_write_only() })
    }

    /// Makes the chain taken last available again.
    pub(crate) fn undo_pop(&mut self) {
        if let Some(rings) = &mut self.rings {
            rings.go_to_previous_position();
        }
    }

    /// Gives the chain `head` back to the driver, with `len` bytes written to it.
    pub(crate) fn push_used(&mut self, memory: &Ram, head: u16, len: u32) -> Result<(), Violation> {
        let queue = self.index;
        let Some(rings) = &mut self.rings else { return Ok(()) };
        rings.add_used(memory, head, len).map_err(|_| Violation::RingAccess { queue })
    }

    /// Asks the driver to notify the device of the next chain it makes available.
    pub(crate) fn request_notification(&mut self, memory: &Ram) -> Result<(), Violation> {
        let queue = self.index;
        let Some(rings) = &mut self.rings else { return Ok(()) };
        rings.enable_notification(memory).map(drop).map_err(|_| Violation::RingAccess { queue })
    }

    /// Whether the driver wants an interrupt for what was given back since this was last asked. To be asked
    /// once after each batch of [`Queue::push_used`]; the batch is not part of the saved state.
    pub(crate) fn needs_interrupt(&mut self, memory: &Ram) -> Result<bool, Violation> {
        let queue = self.index;
        let Some(rings) = &mut self.rings else { return Ok(false) };
        if rings.event_idx_enabled() {
            return rings.needs_notification(memory).map_err(|_| Violation::RingAccess { queue });
        }
        let flags: u16 =
            memory.read_obj(GuestAddress(rings.avail_ring())).map_err(|_| Violation::RingAccess { queue })?;
        Ok(u32::from(u16::from_le(flags)) & VRING_AVAIL_F_NO_INTERRUPT == 0)
    }

    pub(crate) fn save(&self) -> QueueState {
        let Self { index: _, registers, rings } = self;
        let next = rings.as_ref().map(|rings| (rings.next_avail(), rings.next_used()));
        QueueState { registers: registers.clone(), next }
    }

    pub(crate) fn restore(
        index: u16,
        state: &QueueState,
        memory: &Ram,
        event_idx: bool,
    ) -> Result<Self, Violation> {
        let QueueState { registers, next } = state;
        let mut queue = Queue { index, registers: registers.clone(), rings: None };
        if let Some(next) = *next {
            queue.start_at(next, memory, event_idx)?;
        }
        Ok(queue)
    }
}
