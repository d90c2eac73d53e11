//! The network device (virtio 1.2, section 5.1): one receive and one transmit queue, no offloads.
//!
//! Frames are Ethernet frames of 14 to 1514 bytes (no FCS, no VLAN tag on top of a full payload), in both
//! directions; others are dropped and counted. A frame sent by the guest is copied out during the
//! notification and its buffer given back at once. A frame for the guest needs one chain that holds it with
//! its header; when there is none, or the next one is too small, the frame is dropped and counted and the
//! chain stays available.

mod state;

use virtio_bindings::bindings::virtio_net::VIRTIO_NET_F_MAC;
use virtio_bindings::bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use vm_memory::{Bytes, GuestMemoryMmap};

use super::NET_SLOT;
use super::mmio::{Model, Transport, Written};
use super::queue::{Buffer, MAX_SIZE};
use super::violation::Violation;
use crate::context::{Context, Output};
use crate::interrupts::InterruptController;
pub use state::NetState;

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const QUEUES: u16 = 2;

const FEATURES: u64 = 1 << VIRTIO_NET_F_MAC | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;

const HEADER_LEN: usize = 12;
/// The header of a received frame: all zero but `num_buffers`, which is 1.
const RECEIVE_HEADER: [u8; HEADER_LEN] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const MIN_FRAME_LEN: usize = 14;
const MAX_FRAME_LEN: usize = 1514;
const MAX_PACKET_LEN: usize = HEADER_LEN + MAX_FRAME_LEN;

/// The network device.
#[derive(Debug)]
pub(crate) struct Net {
    mac: [u8; 6],
    pub(super) transport: Transport,
    received_dropped: u64,
    sent_dropped: u64,
    /// The chain at hand, kept only to reuse its allocation.
    buffers: Vec<Buffer>,
}

impl Net {
    pub(crate) fn new(mac: [u8; 6]) -> Self {
        let transport = Transport::new(Model {
            slot: NET_SLOT,
            device_id: VIRTIO_ID_NET,
            offered: FEATURES,
            required: 0,
            queues: QUEUES,
            config: mac.to_vec(),
        });
        Net {
            mac,
            transport,
            received_dropped: 0,
            sent_dropped: 0,
            buffers: Vec::with_capacity(usize::from(MAX_SIZE)),
        }
    }

    pub(crate) fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Frames dropped for the guest, and from the guest.
    pub(crate) fn dropped(&self) -> (u64, u64) {
        (self.received_dropped, self.sent_dropped)
    }

    /// `None`: there is no such register to write, or not with this width.
    pub(crate) fn write(
        &mut self,
        register: u64,
        data: &[u8],
        ctx: &mut Context,
        interrupts: &mut InterruptController,
    ) -> Option<()> {
        // Receive buffers are looked for when a frame comes.
        if self.transport.write(register, data, ctx.memory, interrupts)? == Written::Notified(TRANSMIT) {
            let result = self.send_available(ctx);
            self.transport.finish(result, interrupts);
        }
        Some(())
    }

    /// Sends every available frame; the result says whether the driver wants an interrupt.
    fn send_available(&mut self, ctx: &mut Context) -> Result<bool, Violation> {
        let queue = &mut self.transport.queues[TRANSMIT];
        let mut sent = 0;
        // At most the size of the queue in one go: a used ring laid over the available ring makes more of them.
        while sent < queue.size() {
            let Some(head) = queue.pop(ctx.memory, &mut self.buffers)? else { break };
            match copy_frame_out(head, &self.buffers, ctx.memory)? {
                Some(frame) => ctx.outputs.push(Output::Net { slot: NET_SLOT, frame }),
                None => self.sent_dropped = self.sent_dropped.saturating_add(1),
            }
            queue.push_used(ctx.memory, head, 0)?;
            sent += 1;
        }
        queue.request_notification(ctx.memory)?;
        Ok(sent > 0 && queue.needs_interrupt(ctx.memory)?)
    }

    /// A frame from outside.
    pub(crate) fn receive(&mut self, frame: &[u8], ctx: &mut Context, interrupts: &mut InterruptController) {
        let result = if self.transport.active() { self.deliver(frame, ctx.memory) } else { Ok(None) };
        if !matches!(result, Ok(Some(_))) {
            self.received_dropped = self.received_dropped.saturating_add(1);
        }
        self.transport.finish(result.map(|delivered| delivered.unwrap_or(false)), interrupts);
    }

    /// Puts a frame into the next receive chain. `None`: dropped; otherwise whether the driver wants an
    /// interrupt.
    fn deliver(&mut self, frame: &[u8], memory: &GuestMemoryMmap<()>) -> Result<Option<bool>, Violation> {
        if !(MIN_FRAME_LEN..=MAX_FRAME_LEN).contains(&frame.len()) {
            return Ok(None);
        }
        let queue = &mut self.transport.queues[RECEIVE];
        let Some(head) = queue.pop(memory, &mut self.buffers)? else { return Ok(None) };
        let mut packet = [0; MAX_PACKET_LEN];
        let packet = &mut packet[..HEADER_LEN + frame.len()];
        packet[..HEADER_LEN].copy_from_slice(&RECEIVE_HEADER);
        packet[HEADER_LEN..].copy_from_slice(frame);
        if checked_len(RECEIVE, head, &self.buffers, true)? < packet.len() as u64 {
            queue.undo_pop();
            return Ok(None);
        }
        copy_packet_in(head, packet, &self.buffers, memory)?;
        queue.push_used(memory, head, packet.len() as u32)?;
        queue.needs_interrupt(memory).map(Some)
    }

    /// How many frames [`Net::receive`] has chains for now.
    pub(crate) fn receive_room(&self, memory: &GuestMemoryMmap<()>) -> usize {
        if self.transport.active() { self.transport.queues[RECEIVE].available(memory) } else { 0 }
    }
}

/// The length of a chain in bytes, all of it in one direction and long enough for the header.
fn checked_len(queue: usize, head: u16, buffers: &[Buffer], writable: bool) -> Result<u64, Violation> {
    let queue = queue as u16;
    if buffers.iter().any(|buffer| buffer.writable != writable) {
        return Err(Violation::BufferDirection { queue, head });
    }
    let len = buffers.iter().map(|buffer| u64::from(buffer.len)).sum();
    if len < HEADER_LEN as u64 {
        return Err(Violation::HeaderDoesNotFit { queue, head, len });
    }
    Ok(len)
}

/// The frame in a transmit chain, without its header; `None` when its length is not that of a frame.
fn copy_frame_out(
    head: u16,
    buffers: &[Buffer],
    memory: &GuestMemoryMmap<()>,
) -> Result<Option<Vec<u8>>, Violation> {
    let len = checked_len(TRANSMIT, head, buffers, false)?;
    if !((HEADER_LEN + MIN_FRAME_LEN) as u64..=MAX_PACKET_LEN as u64).contains(&len) {
        return Ok(None);
    }
    let mut packet = [0; MAX_PACKET_LEN];
    let mut at = 0;
    for buffer in buffers {
        let part = &mut packet[at..][..buffer.len as usize];
        memory.read_slice(part, buffer.address).map_err(|_| buffer.outside_ram(TRANSMIT as u16, head))?;
        at += part.len();
    }
    Ok(Some(packet[HEADER_LEN..at].to_vec()))
}

/// Writes header and frame over the buffers of a receive chain, which have room for them.
fn copy_packet_in(
    head: u16,
    packet: &[u8],
    buffers: &[Buffer],
    memory: &GuestMemoryMmap<()>,
) -> Result<(), Violation> {
    let mut rest = packet;
    for buffer in buffers {
        let (part, after) = rest.split_at(rest.len().min(buffer.len as usize));
        memory.write_slice(part, buffer.address).map_err(|_| buffer.outside_ram(RECEIVE as u16, head))?;
        rest = after;
    }
    Ok(())
}
