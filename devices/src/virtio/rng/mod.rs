//! The source of random bytes (virtio 1.2, section 5.4).
//!
//! The device has no randomness of its own: the live side hands in what its host gave it, and the log carries that to
//! the other side. It asks for bytes after a notification only, so a guest that wants none costs nothing.

mod state;

use virtio_bindings::bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;
use vm_memory::Bytes;

use super::RNG_SLOT;
use super::mmio::{Model, Transport, Written};
use super::queue::{Buffer, MAX_SIZE};
use super::violation::Violation;
use crate::context::Context;
use crate::interrupts::InterruptController;
use crate::ram::Ram;
pub use state::RngState;

const REQUESTS: usize = 0;
const FEATURES: u64 = 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// Bytes that a chain gets at most. A device may give less than was asked for, and with a fixed amount the live side
/// knows how much is wanted without a look at the chains. Linux asks for as much at a time.
const CHAIN_BYTES: usize = 64;
/// Bytes wanted at one sync point at most.
const MAX_WANTED: usize = 4096;

/// The source of random bytes.
#[derive(Debug)]
pub(crate) struct Rng {
    pub(super) transport: Transport,
    /// The driver has notified, and not all of what it offered is used.
    wanting: bool,
    /// The chain at hand, kept only to reuse its allocation.
    buffers: Vec<Buffer>,
}

impl Rng {
    pub(crate) fn new() -> Self {
        let transport = Transport::new(Model {
            slot: RNG_SLOT,
            device_id: VIRTIO_ID_RNG,
            offered: FEATURES,
            required: 0,
            queues: 1,
            config: Vec::new(),
        });
        Rng { transport, wanting: false, buffers: Vec::with_capacity(usize::from(MAX_SIZE)) }
    }

    /// `None`: there is no such register to write, or not with this width.
    pub(crate) fn write(
        &mut self,
        register: u64,
        data: &[u8],
        ctx: &mut Context,
        interrupts: &mut InterruptController,
    ) -> Option<()> {
        if let Written::Notified(queue) = self.transport.write(register, data, ctx.memory, interrupts)? {
            self.wanting = self.transport.queues[queue].available(ctx.memory) > 0;
        }
        self.forget_unless_serving();
        Some(())
    }

    pub(crate) fn reset(&mut self) {
        self.transport.reset();
        self.forget_unless_serving();
    }

    /// How many bytes the guest's chains have room for now.
    pub(crate) fn wanted(&self, memory: &Ram) -> usize {
        if !self.wanting {
            return 0;
        }
        (self.transport.queues[REQUESTS].available(memory) * CHAIN_BYTES).min(MAX_WANTED)
    }

    /// Random bytes from outside. What there is no room for is dropped.
    pub(crate) fn receive(&mut self, bytes: &[u8], memory: &Ram, interrupts: &mut InterruptController) {
        if self.wanting {
            let result = self.deliver(bytes, memory);
            self.transport.finish(result, interrupts);
            self.forget_unless_serving();
        }
    }

    /// Fills chains; the result says whether the driver wants an interrupt.
    fn deliver(&mut self, bytes: &[u8], memory: &Ram) -> Result<bool, Violation> {
        let queue = &mut self.transport.queues[REQUESTS];
        let mut filled = false;
        for bytes in bytes.chunks(CHAIN_BYTES) {
            let Some(head) = queue.pop(memory, &mut self.buffers)? else { break };
            let len = fill_chain(head, &self.buffers, bytes, memory)?;
            queue.push_used(memory, head, len)?;
            filled = true;
        }
        self.wanting = queue.available(memory) > 0;
        queue.request_notification(memory)?;
        Ok(filled && queue.needs_interrupt(memory)?)
    }

    /// Nothing is wanted by a driver that took its queue away, or that broke the protocol.
    fn forget_unless_serving(&mut self) {
        self.wanting &= self.transport.serves(REQUESTS);
    }
}

/// Writes as many of `bytes` as the chain holds, and says how many.
fn fill_chain(head: u16, buffers: &[Buffer], bytes: &[u8], memory: &Ram) -> Result<u32, Violation> {
    let queue = REQUESTS as u16;
    if buffers.iter().any(|buffer| !buffer.writable) {
        return Err(Violation::BufferDirection { queue, head });
    }
    let mut rest = bytes;
    for buffer in buffers {
        let (part, after) = rest.split_at(rest.len().min(buffer.len as usize));
        memory.write_slice(part, buffer.address).map_err(|_| buffer.outside_ram(queue, head))?;
        rest = after;
    }
    Ok((bytes.len() - rest.len()) as u32)
}
