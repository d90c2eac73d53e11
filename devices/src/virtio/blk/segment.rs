//! The places in guest memory where the data of a request lies.

use crate::ram::Ram;
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};

/// A piece of guest memory that holds data of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Its guest-physical address.
    pub address: u64,
    /// Its length in bytes; not 0.
    pub len: u32,
}

impl Segment {
    /// `None` when it would be empty.
    pub(super) fn new(address: u64, len: u32) -> Option<Self> {
        (len != 0).then_some(Segment { address, len })
    }

    /// Not empty, and wholly in RAM.
    pub(super) fn is_valid(&self, memory: &Ram) -> bool {
        let Segment { address, len } = *self;
        len != 0 && memory.check_range(GuestAddress(address), len as usize, Permissions::ReadWrite)
    }
}

/// Their length in bytes, all together.
pub(super) fn total_len(segments: &[Segment]) -> u64 {
    segments.iter().map(|segment| u64::from(segment.len)).sum()
}

/// What is in them; `None` when they are not all in RAM.
pub(super) fn read(segments: &[Segment], memory: &Ram) -> Option<Vec<u8>> {
    let mut data = vec![0; total_len(segments) as usize];
    let mut rest = &mut data[..];
    for segment in segments {
        let (part, after) = rest.split_at_mut(segment.len as usize);
        memory.read_slice(part, GuestAddress(segment.address)).ok()?;
        rest = after;
    }
    Some(data)
}

/// Writes `data` from the front of them on, as far as there is room; `None` when they are not all in RAM.
pub(super) fn write(segments: &[Segment], data: &[u8], memory: &Ram) -> Option<()> {
    let mut rest = data;
    for segment in segments {
        let (part, after) = rest.split_at(rest.len().min(segment.len as usize));
        memory.write_slice(part, GuestAddress(segment.address)).ok()?;
        rest = after;
    }
    Some(())
}
