//! Giving requests back to the driver.

use vm_memory::{Bytes, GuestAddress};

use super::{Disk, DiskStatus, PendingOperation, PendingRequest, QUEUE, Segment, segment};
use crate::context::Context;
use crate::interrupts::InterruptController;
use crate::ram::Ram;
use crate::virtio::violation::Violation;

impl Disk {
    /// The answer of the backing file to request `id`; one that is not in flight changes nothing. If the disk was full,
    /// what has waited in the ring is taken.
    pub(crate) fn complete(
        &mut self,
        id: u64,
        status: DiskStatus,
        data: &[u8],
        ctx: &mut Context,
        interrupts: &mut InterruptController,
    ) {
        let Ok(at) = self.in_flight.binary_search_by_key(&id, |request| request.id) else { return };
        let was_full = self.is_full();
        let request = self.in_flight.remove(at);
        let finished = self.finish(&request, status, data, ctx.memory);
        let result = finished.and_then(|wanted| Ok(was_full && self.take_available(ctx)? || wanted));
        self.transport.finish(result, interrupts);
        self.forget_unless_serving();
    }

    /// Gives a request back; the result says whether the driver wants an interrupt.
    fn finish(
        &mut self,
        request: &PendingRequest,
        status: DiskStatus,
        data: &[u8],
        memory: &Ram,
    ) -> Result<bool, Violation> {
        let PendingRequest { id: _, head, operation, segments, status: at } = request;
        let writable = if let PendingOperation::Read { .. } = operation { &segments[..] } else { &[] };
        let wanted = segment::total_len(writable);
        let (status, data) = match status {
            DiskStatus::Ok if writable.is_empty() => (status, &[][..]),
            DiskStatus::Ok if data.len() as u64 == wanted => (status, data),
            DiskStatus::Ok => (DiskStatus::IoError, &[][..]),
            _ => (status, &[][..]),
        };
        self.answer(*head, writable, data, *at, status, memory)?;
        self.queue().needs_interrupt(memory)
    }

    /// Writes `data` and the status into a chain and gives it back. The used length counts from the front, without a
    /// gap: it covers the status only when all that lies before was written.
    pub(super) fn answer(
        &mut self,
        head: u16,
        writable: &[Segment],
        data: &[u8],
        status_at: u64,
        status: DiskStatus,
        memory: &Ram,
    ) -> Result<(), Violation> {
        // The buffers were checked to be in RAM when the chain was taken, so this does not come about.
        let outside_ram = || Violation::RingAccess { queue: QUEUE as u16 };
        segment::write(writable, data, memory).ok_or_else(outside_ram)?;
        memory.write_slice(&[status as u8], GuestAddress(status_at)).map_err(|_| outside_ram())?;
        let whole = segment::total_len(writable) == data.len() as u64;
        self.queue().push_used(memory, head, data.len() as u32 + u32::from(whole))
    }
}
