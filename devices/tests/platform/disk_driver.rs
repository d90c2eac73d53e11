//! A small virtio-blk driver.

use devices::{DiskOperation, DiskRequest, DiskStatus, Output};

use crate::driver::*;

pub const IN: u32 = 0;
pub const OUT: u32 = 1;
pub const FLUSH: u32 = 4;
pub const GET_ID: u32 = 8;
pub const DISCARD: u32 = 11;
pub const WRITE_ZEROES: u32 = 13;

pub const F_RO: u64 = 1 << 5;
pub const F_FLUSH: u64 = 1 << 9;

/// Where the rings of the first disk are.
pub const RING: usize = 3;
/// What a status byte holds before the device writes it.
pub const UNANSWERED: u8 = 0xee;

pub fn header_at(head: u16) -> u64 {
    0x7_0000 + u64::from(head) * 0x20
}

pub fn status_at(head: u16) -> u64 {
    0x7_8000 + u64::from(head)
}

pub fn data_at(head: u16) -> u64 {
    0x8_0000 + u64::from(head) * 0x1000
}

/// The header of a request.
pub fn header(kind: u32, sector: u64) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &[0xaa; 4], &sector.to_le_bytes()].concat()
}

/// The data of a discard or a write of zeroes.
pub fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &flags.to_le_bytes()].concat()
}

impl Machine {
    /// A machine whose driver of the disk in `slot` is ready.
    pub fn with_disk(slot: u8, features: u64) -> Self {
        let mut machine = Machine::new();
        machine.slot = slot;
        machine.start(features | F_FLUSH);
        machine
    }

    /// Makes a request available, in descriptors `head` to `head + 2`: header, data if any, status.
    pub fn offer_request(&mut self, head: u16, kind: u32, sector: u64, sent: &[u8], wanted: u32) {
        let ring = self.ring(0);
        self.memory_write(header_at(head), &header(kind, sector));
        self.memory_write(status_at(head), &[UNANSWERED]);
        self.memory_write(data_at(head), sent);
        let data =
            (data_at(head), sent.len() as u32 + wanted, NEXT | if wanted > 0 { WRITE } else { 0 }, head + 2);
        let first = if data.1 > 0 { head + 1 } else { head + 2 };
        self.descriptor(table(ring), head, (header_at(head), 16, NEXT, first));
        self.descriptor(table(ring), head + 1, data);
        self.descriptor(table(ring), head + 2, (status_at(head), 1, WRITE, 0));
        self.offer(ring, head);
    }

    /// Makes one request and notifies.
    pub fn request(&mut self, head: u16, kind: u32, sector: u64, sent: &[u8], wanted: u32) {
        self.offer_request(head, kind, sector, sent, wanted);
        self.notify(0);
    }

    /// What was asked of backing files since this was last asked.
    pub fn disk_requests(&mut self) -> Vec<DiskRequest> {
        let request = |output| match output {
            Output::Disk(request) => request,
            other => panic!("unexpected output {other:?}"),
        };
        self.outputs.drain(..).map(request).collect()
    }

    /// The same, of the disk driven, without slot: number and operation.
    pub fn operations(&mut self) -> Vec<(u64, DiskOperation)> {
        let slot = self.slot;
        let check = |request: DiskRequest| {
            assert_eq!(request.slot, slot);
            (request.id, request.operation)
        };
        self.disk_requests().into_iter().map(check).collect()
    }

    pub fn complete(&mut self, id: u64, status: DiskStatus, data: &[u8]) {
        let slot = self.slot;
        self.context(|platform, ctx| platform.complete_disk(ctx, slot, id, status, data));
    }

    pub fn status_of(&self, head: u16) -> u8 {
        self.bytes(status_at(head), 1)[0]
    }
}
