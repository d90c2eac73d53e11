//! The disk (virtio 1.2, section 5.2): one queue, a cache that must be flushed.
//!
//! A request is taken during the notification, and data to be written are copied out at once; what reaches the
//! backing file is an [`Output`]. The chain stays the device's until the answer comes, which is an event of the log
//! and carries the data that were read. A request that no disk of this shape can carry out is answered at once.
//!
//! A disk takes no more requests while those in flight are about [`MAX_IN_FLIGHT_BYTES`]: the others stay where they
//! are, in the driver's ring, and cost the host nothing. They are taken when an answer has made room, so it is the
//! guest's memory and the log alone that say when.

mod answer;
mod chain;
mod config;
mod pending;
mod request;
mod segment;
mod state;

use virtio_bindings::bindings::virtio_blk::VIRTIO_BLK_T_GET_ID;
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;

use super::mmio::{Model, Transport, Written};
use super::queue::{Buffer, MAX_SIZE, Queue};
use super::violation::Violation;
use crate::context::{Context, Output};
use crate::interrupts::InterruptController;
use chain::Chain;
pub use config::DiskConfig;
use config::QUEUE;
pub use pending::{PendingOperation, PendingRequest};
pub use request::{DiskOperation, DiskRequest, DiskStatus, MAX_IN_FLIGHT_BYTES, MAX_REQUEST_BYTES};
pub use segment::Segment;
pub use state::DiskState;

/// A disk.
#[derive(Debug)]
pub(crate) struct Disk {
    slot: u8,
    config: DiskConfig,
    pub(super) transport: Transport,
    /// Requests without an answer, oldest first; each has another head, so the queue's size bounds them.
    in_flight: Vec<PendingRequest>,
    /// The number of the next request. A reset does not begin again: an answer that comes late must not be taken for
    /// that of another request.
    next_id: u64,
    /// The chain at hand, kept only to reuse its allocation.
    buffers: Vec<Buffer>,
}

impl Disk {
    pub(crate) fn new(slot: u8, config: DiskConfig) -> Self {
        let config = config.bounded();
        let transport = Transport::new(Model {
            slot,
            device_id: VIRTIO_ID_BLOCK,
            offered: config.features(),
            required: config.required_features(),
            queues: 1,
            config: config.space(),
        });
        let buffers = Vec::with_capacity(usize::from(MAX_SIZE));
        Disk { slot, config, transport, in_flight: Vec::new(), next_id: 0, buffers }
    }

    pub(crate) fn slot(&self) -> u8 {
        self.slot
    }

    pub(crate) fn config(&self) -> &DiskConfig {
        &self.config
    }

    pub(crate) fn reset(&mut self) {
        self.transport.reset();
        self.forget_unless_serving();
    }

    pub(crate) fn in_flight(&self) -> &[PendingRequest] {
        &self.in_flight
    }

    /// `None`: there is no such register to write, or not with this width.
    pub(crate) fn write(
        &mut self,
        register: u64,
        data: &[u8],
        ctx: &mut Context,
        interrupts: &mut InterruptController,
    ) -> Option<()> {
        if let Written::Notified(_) = self.transport.write(register, data, ctx.memory, interrupts)? {
            let result = self.take_available(ctx);
            self.transport.finish(result, interrupts);
        }
        self.forget_unless_serving();
        Some(())
    }

    /// Takes the available requests for which there is room; the result says whether the driver wants an interrupt for
    /// those that were answered at once.
    fn take_available(&mut self, ctx: &mut Context) -> Result<bool, Violation> {
        let mut answered = false;
        // At most the size of the queue in one go: a used ring laid over the available ring makes more of them.
        for _ in 0..self.queue().size() {
            if self.is_full() {
                break;
            }
            let queue = &mut self.transport.queues[QUEUE];
            let Some(head) = queue.pop(ctx.memory, &mut self.buffers)? else { break };
            if self.in_flight.iter().any(|request| request.head == head) {
                return Err(Violation::ChainInUse { queue: QUEUE as u16, head });
            }
            answered |= self.take(head, ctx)?;
        }
        let queue = self.queue();
        queue.request_notification(ctx.memory)?;
        Ok(answered && queue.needs_interrupt(ctx.memory)?)
    }

    /// Takes the request at hand; true when it was answered at once.
    fn take(&mut self, head: u16, ctx: &mut Context) -> Result<bool, Violation> {
        let chain = Chain::parse(head, &self.buffers, ctx.memory)?;
        if chain.kind == VIRTIO_BLK_T_GET_ID {
            let id = self.config.id_bytes();
            let room = segment::total_len(&chain.writable).min(id.len() as u64) as usize;
            self.answer(head, &chain.writable, &id[..room], chain.status, DiskStatus::Ok, ctx.memory)?;
            return Ok(true);
        }
        match PendingOperation::decode(&chain, &self.config, ctx.memory) {
            Ok((operation, segments)) => {
                let (id, status) = (self.next_id, chain.status);
                let request = PendingRequest { id, head, operation, segments, status };
                self.submit(&request, ctx);
                self.next_id += 1;
                self.in_flight.push(request);
                Ok(false)
            }
            Err(status) => {
                self.answer(head, &chain.writable, &[], chain.status, status, ctx.memory)?;
                Ok(true)
            }
        }
    }

    /// The requests in flight are about so many bytes that no more are taken. Until one is answered: others may then
    /// have been waiting in the ring.
    fn is_full(&self) -> bool {
        let bytes: u64 = self.in_flight.iter().map(|request| segment::total_len(&request.segments)).sum();
        bytes >= MAX_IN_FLIGHT_BYTES
    }

    fn submit(&self, request: &PendingRequest, ctx: &mut Context) {
        let operation = request.operation(ctx.memory);
        debug_assert!(
            operation.is_some(),
            "the buffers were checked to be in RAM when the request was taken"
        );
        let output = |operation| Output::Disk(DiskRequest { slot: self.slot, id: request.id, operation });
        ctx.outputs.extend(operation.map(output));
    }

    /// Says every request in flight again.
    pub(crate) fn reissue(&self, ctx: &mut Context) {
        self.in_flight.iter().for_each(|request| self.submit(request, ctx));
    }

    fn queue(&mut self) -> &mut Queue {
        &mut self.transport.queues[QUEUE]
    }

    /// A driver that took its queue away, or that broke the protocol, gets no answers any more.
    fn forget_unless_serving(&mut self) {
        if !self.transport.serves(QUEUE) {
            self.in_flight.clear();
        }
    }
}
