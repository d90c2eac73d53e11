//! The network device (virtio 1.2, section 5.1): one receive and one transmit queue, no offloads.
//!
//! Frames are Ethernet frames (no FCS) of 14 bytes up to the MTU's payload behind a header with at most two VLAN tags,
//! in both directions; others are dropped. A frame sent by the guest is copied out during the notification and its
//! buffer given back at once. A frame for the guest needs one chain that holds it with its header; when there is none,
//! or the next one is too small, the frame is dropped and the chain stays available. What is dropped is counted, by
//! reason.

mod config;
mod drops;
mod state;

use virtio_bindings::bindings::virtio_net::{VIRTIO_NET_F_MAC, VIRTIO_NET_F_MTU};
use virtio_bindings::bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use vm_memory::Bytes;

use super::NET_SLOT;
use super::mmio::{Model, Transport, Written};
use super::queue::{Buffer, MAX_SIZE};
use super::violation::Violation;
use crate::context::{Context, Output};
use crate::interrupts::InterruptController;
use crate::ram::Ram;
pub use config::{MAX_MTU, MIN_MTU, NetConfig};
use drops::Dropped;
pub use drops::NetDrops;
pub use state::NetState;

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const QUEUES: u16 = 2;

const FEATURES: u64 = 1 << VIRTIO_NET_F_MAC
    | 1 << VIRTIO_NET_F_MTU
    | 1 << VIRTIO_RING_F_EVENT_IDX
    | 1 << VIRTIO_RING_F_INDIRECT_DESC;

const HEADER_LEN: usize = 12;
/// The header of a received frame: all zero but `num_buffers`, which is 1.
const RECEIVE_HEADER: [u8; HEADER_LEN] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const MIN_FRAME_LEN: usize = 14;

/// The network device.
#[derive(Debug)]
pub(crate) struct Net {
    config: NetConfig,
    pub(super) transport: Transport,
    drops: NetDrops,
    /// The chain at hand, kept only to reuse its allocation.
    buffers: Vec<Buffer>,
    /// The frame at hand behind its header, kept only to reuse its allocation.
    packet: Vec<u8>,
}

impl Net {
    pub(crate) fn new(config: NetConfig) -> Self {
        let transport = Transport::new(Model {
            slot: NET_SLOT,
            device_id: VIRTIO_ID_NET,
            offered: FEATURES,
            required: 0,
            queues: QUEUES,
            config: config.space(),
        });
        Net {
            config,
            transport,
            drops: NetDrops::default(),
            buffers: Vec::with_capacity(usize::from(MAX_SIZE)),
            packet: Vec::new(),
        }
    }

    pub(crate) fn config(&self) -> NetConfig {
        self.config
    }

    pub(crate) fn drops(&self) -> NetDrops {
        self.drops
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
            match copy_frame_out(head, &self.buffers, self.config.max_frame(), ctx.memory)? {
                Some(frame) => ctx.outputs.push(Output::Net { slot: NET_SLOT, frame }),
                None => self.drops.drop_sent(),
            }
            queue.push_used(ctx.memory, head, 0)?;
            sent += 1;
        }
        queue.request_notification(ctx.memory)?;
        Ok(sent > 0 && queue.needs_interrupt(ctx.memory)?)
    }

    /// A frame from outside.
    pub(crate) fn receive(&mut self, frame: &[u8], ctx: &mut Context, interrupts: &mut InterruptController) {
        let active = self.transport.active();
        let result = if active { self.deliver(frame, ctx.memory) } else { Ok(Err(Dropped::NoDriver)) };
        match &result {
            Ok(Ok(_)) => {}
            Ok(Err(reason)) => self.drops.drop_received(*reason),
            Err(_) => self.drops.drop_received(Dropped::NoDriver),
        }
        self.transport.finish(result.map(|delivered| delivered.unwrap_or(false)), interrupts);
    }

    /// Puts a frame into the next receive chain. Gives whether the driver wants an interrupt, or why the frame was
    /// dropped.
    fn deliver(&mut self, frame: &[u8], memory: &Ram) -> Result<Result<bool, Dropped>, Violation> {
        if !(MIN_FRAME_LEN..=self.config.max_frame()).contains(&frame.len()) {
            return Ok(Err(Dropped::Length));
        }
        let queue = &mut self.transport.queues[RECEIVE];
        let Some(head) = queue.pop(memory, &mut self.buffers)? else { return Ok(Err(Dropped::NoBuffer)) };
        self.packet.clear();
        self.packet.extend(RECEIVE_HEADER);
        self.packet.extend_from_slice(frame);
        if checked_len(RECEIVE, head, &self.buffers, true)? < self.packet.len() as u64 {
            queue.undo_pop();
            return Ok(Err(Dropped::SmallBuffer));
        }
        copy_packet_in(head, &self.packet, &self.buffers, memory)?;
        queue.push_used(memory, head, self.packet.len() as u32)?;
        queue.needs_interrupt(memory).map(Ok)
    }

    /// How many frames [`Net::receive`] has chains for now.
    pub(crate) fn receive_room(&self, memory: &Ram) -> usize {
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
    max_frame: usize,
    memory: &Ram,
) -> Result<Option<Vec<u8>>, Violation> {
    let len = checked_len(TRANSMIT, head, buffers, false)?;
    if !((HEADER_LEN + MIN_FRAME_LEN) as u64..=(HEADER_LEN + max_frame) as u64).contains(&len) {
        return Ok(None);
    }
    let mut packet = vec![0; len as usize];
    let mut at = 0;
    for buffer in buffers {
        let part = &mut packet[at..][..buffer.len as usize];
        memory.read_slice(part, buffer.address).map_err(|_| buffer.outside_ram(TRANSMIT as u16, head))?;
        at += part.len();
    }
    Ok(Some(packet.split_off(HEADER_LEN)))
}

/// Writes header and frame over the buffers of a receive chain, which have room for them.
fn copy_packet_in(head: u16, packet: &[u8], buffers: &[Buffer], memory: &Ram) -> Result<(), Violation> {
    let mut rest = packet;
    for buffer in buffers {
        let (part, after) = rest.split_at(rest.len().min(buffer.len as usize));
        memory.write_slice(part, buffer.address).map_err(|_| buffer.outside_ram(RECEIVE as u16, head))?;
        rest = after;
    }
    Ok(())
}
