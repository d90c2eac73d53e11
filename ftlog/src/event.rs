//! What the outside world did to the guest.

/// The most events one sync point may carry.
pub const MAX_EVENTS_PER_STEP: usize = 1024;

/// The longest payload of one event, in bytes (its length field has 16 bits).
pub const MAX_EVENT_PAYLOAD: usize = u16::MAX as usize;

/// Input from outside, applied to a device at a sync point, in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// A network frame arrived at the virtio-net device in `slot`.
    NetFrame {
        /// The virtio-mmio slot of the device.
        slot: u8,
        /// The Ethernet frame, at most [`MAX_EVENT_PAYLOAD`] bytes.
        frame: Vec<u8>,
    },
    /// Bytes typed at the console, at most [`MAX_EVENT_PAYLOAD`].
    ConsoleInput(Vec<u8>),
}

impl Event {
    /// The bytes this event carries, without its header.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match self {
            Self::NetFrame { frame, .. } => frame,
            Self::ConsoleInput(bytes) => bytes,
        }
    }
}
