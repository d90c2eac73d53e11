//! What comes from outside, and how much of it there is room for.

use super::Platform;
use crate::context::Context;
use crate::ram::Ram;
use crate::virtio::{DiskStatus, NET_SLOT};

impl Platform {
    /// A frame from outside for the device in virtio slot `slot`. It is dropped, and counted, when there is
    /// no buffer for it.
    pub fn receive_frame(&mut self, ctx: &mut Context, slot: u8, frame: &[u8]) {
        match &mut self.virtio.net {
            Some(net) if slot == NET_SLOT => net.receive(frame, ctx, &mut self.interrupts),
            _ => {}
        }
    }

    /// Bytes from outside for the console. Those without room are lost, and the guest sees an overrun.
    pub fn receive_console(&mut self, _ctx: &mut Context, bytes: &[u8]) {
        self.serial.receive(bytes, &mut self.interrupts);
    }

    /// Random bytes from outside. The guest gets no more than [`Platform::entropy_wanted`] of them.
    pub fn receive_entropy(&mut self, ctx: &mut Context, bytes: &[u8]) {
        self.virtio.rng.receive(bytes, ctx.memory, &mut self.interrupts);
    }

    /// The answer of a backing file to request `id` of the disk in virtio slot `slot`, with the bytes it read. A
    /// read that brings another number of bytes than it asked for has failed. A request that is not in flight (any
    /// more) is none of the guest's: nothing changes.
    pub fn complete_disk(&mut self, ctx: &mut Context, slot: u8, id: u64, status: DiskStatus, data: &[u8]) {
        if let Some(disk) = self.virtio.disk(slot) {
            disk.complete(id, status, data, ctx, &mut self.interrupts);
        }
    }

    /// Says every disk request in flight again, oldest first, with what is in the guest's buffers now: for a side
    /// whose backing files may not have been given them.
    pub fn reissue_disk_requests(&self, ctx: &mut Context) {
        self.virtio.disks.iter().for_each(|disk| disk.reissue(ctx));
    }

    /// How many disk requests wait for [`Platform::complete_disk`].
    pub fn disk_requests_in_flight(&self) -> usize {
        self.virtio.disks.iter().map(|disk| disk.in_flight().len()).sum()
    }

    /// How many random bytes the guest wants now.
    pub fn entropy_wanted(&self, memory: &Ram) -> usize {
        self.virtio.rng.wanted(memory)
    }

    /// How many frames [`Platform::receive_frame`] has buffers for now; 0 when the driver is not ready.
    pub fn net_receive_room(&self, memory: &Ram) -> usize {
        self.virtio.net.as_ref().map_or(0, |net| net.receive_room(memory))
    }

    /// How many bytes [`Platform::receive_console`] has room for now.
    pub fn console_receive_room(&self) -> usize {
        self.serial.receive_room()
    }
}
