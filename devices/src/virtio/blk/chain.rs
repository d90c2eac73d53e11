//! The chain of a request: header, data and status, in buffers as the driver likes (virtio 1.2, section 2.7.4).

use vm_memory::Bytes;

use super::config::QUEUE;
use super::segment::Segment;
use crate::ram::Ram;
use crate::virtio::queue::Buffer;
use crate::virtio::violation::Violation;

/// Length of a request's header: type, reserved, sector.
const HEADER_LEN: usize = 16;

/// A request as the driver laid it out.
#[derive(Debug)]
pub(super) struct Chain {
    pub kind: u32,
    pub sector: u64,
    /// The device-readable data behind the header.
    pub readable: Vec<Segment>,
    /// The device-writable data before the status.
    pub writable: Vec<Segment>,
    /// Address of the status byte.
    pub status: u64,
}

impl Chain {
    pub(super) fn parse(head: u16, buffers: &[Buffer], memory: &Ram) -> Result<Chain, Violation> {
        let first_writable = buffers.iter().position(|buffer| buffer.writable).unwrap_or(buffers.len());
        let (readable, writable) = buffers.split_at(first_writable);
        if writable.iter().any(|buffer| !buffer.writable) {
            return Err(Violation::BufferDirection { queue: QUEUE as u16, head });
        }
        let (header, readable) = split_header(head, readable, memory)?;
        let (writable, status) = split_status(head, writable)?;
        let sector = u64::from_le_bytes(std::array::from_fn(|at| header[8 + at]));
        let kind = u32::from_le_bytes(std::array::from_fn(|at| header[at]));
        Ok(Chain { kind, sector, readable, writable, status })
    }
}

/// Reads the header off the front; what is left is data.
fn split_header(
    head: u16,
    buffers: &[Buffer],
    memory: &Ram,
) -> Result<([u8; HEADER_LEN], Vec<Segment>), Violation> {
    let queue = QUEUE as u16;
    let (mut header, mut filled, mut rest) = ([0; HEADER_LEN], 0, Vec::new());
    for buffer in buffers {
        let part = &mut header[filled..];
        let len = part.len().min(buffer.len as usize);
        memory.read_slice(&mut part[..len], buffer.address).map_err(|_| buffer.outside_ram(queue, head))?;
        filled += len;
        rest.extend(Segment::new(buffer.address.0 + len as u64, buffer.len - len as u32));
    }
    if filled < HEADER_LEN {
        return Err(Violation::HeaderDoesNotFit { queue, head, len: filled as u64 });
    }
    Ok((header, rest))
}

/// Takes the status byte off the end; what is left is data.
fn split_status(head: u16, buffers: &[Buffer]) -> Result<(Vec<Segment>, u64), Violation> {
    let segment = |buffer: &Buffer| Segment::new(buffer.address.0, buffer.len);
    let mut data: Vec<Segment> = buffers.iter().filter_map(segment).collect();
    let last = data.pop().ok_or(Violation::StatusDoesNotFit { queue: QUEUE as u16, head })?;
    data.extend(Segment::new(last.address, last.len - 1));
    Ok((data, last.address + u64::from(last.len) - 1))
}
