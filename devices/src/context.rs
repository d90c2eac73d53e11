//! What a device may see and where its output goes.

use crate::ends::{Off, ResetCause};
use crate::ram::Ram;
use crate::virtio::DiskRequest;

/// Everything outside itself that a device can reach while it handles one access or one input.
pub struct Context<'a> {
    /// The guest's RAM.
    pub memory: &'a Ram,
    /// Virtual time of the current sync point: nanoseconds since power-on.
    pub now_ns: u64,
    /// What the guest says to the outside, in order. The caller passes it through the commit gate.
    pub outputs: &'a mut Vec<Output>,
}

/// Something the guest says to the outside world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// An Ethernet frame, without the virtio header, sent by the network device in virtio slot `slot`.
    Net {
        /// The virtio slot of the device.
        slot: u8,
        /// The frame, from destination address to the end of the payload (no FCS).
        frame: Vec<u8>,
    },
    /// Bytes written to the console; bytes that follow each other are in one item.
    Console(Vec<u8>),
    /// A request of a disk; see [`crate::Platform::complete_disk`] for the answer.
    Disk(DiskRequest),
    /// The machine ends.
    PowerOff(Off),
    /// The machine is reset before the guest runs on; see [`crate::Platform::reset`].
    Reset(ResetCause),
}
