//! What the backing files of the disks are asked, and what they may be.

use std::collections::VecDeque;

use super::layout::DISK_SECTORS;
use crate::{DiskOperation, DiskRequest, MAX_REQUEST_BYTES, Output};

/// Requests remembered; more than can be in flight, so that old ones are answered as well.
const MAX_REMEMBERED: usize = 600;

/// The requests of the disk so far, the backing file's side of it.
#[derive(Default)]
pub(super) struct Requests {
    /// Number, and bytes to be read.
    remembered: VecDeque<(u64, usize)>,
    next_id: u64,
}

impl Requests {
    /// Takes note of the requests among `outputs` and checks them; says how many are new.
    pub(super) fn note(&mut self, outputs: &[Output]) -> u64 {
        let first_new = self.next_id;
        for output in outputs {
            if let Output::Disk(request) = output {
                check(request);
                assert!(request.id <= self.next_id, "numbers ascend one by one, or are those of before");
                self.next_id = self.next_id.max(request.id + 1);
                let wanted = if let DiskOperation::Read { len, .. } = request.operation { len } else { 0 };
                self.remembered.push_back((request.id, wanted as usize));
            }
        }
        let surplus = self.remembered.len().saturating_sub(MAX_REMEMBERED);
        self.remembered.drain(..surplus);
        self.next_id - first_new
    }

    /// One of the requests so far, answered or not, mostly one of the last; else one that was never made.
    pub(super) fn choose(&self, which: usize) -> (u64, usize) {
        let back = if which.is_multiple_of(16) { which } else { which % 16 };
        let chosen = back.checked_rem(self.remembered.len());
        chosen.map_or((which as u64, 0), |back| self.remembered[self.remembered.len() - 1 - back])
    }
}

/// A request is for the disk that the guest drives, and wholly on it.
fn check(request: &DiskRequest) {
    let (offset, len) = match &request.operation {
        DiskOperation::Read { offset, len } => (*offset, u64::from(*len)),
        DiskOperation::Write { offset, data } => (*offset, data.len() as u64),
        DiskOperation::Flush => return,
        DiskOperation::Discard { offset, len } | DiskOperation::WriteZeroes { offset, len, .. } => {
            (*offset, *len)
        }
    };
    let whole = len > 0 && offset % 512 == 0 && len % 512 == 0;
    let on_disk = offset.checked_add(len).is_some_and(|end| end <= DISK_SECTORS * 512);
    assert!(whole && on_disk && len <= MAX_REQUEST_BYTES.into() && request.slot == 2, "{request:?}");
}
