//! What the outside world did to the guest.

/// The most events one sync point may carry.
pub const MAX_EVENTS_PER_STEP: usize = 1024;

/// The longest payload of an event, that of a disk apart, in bytes.
pub const MAX_EVENT_PAYLOAD: usize = u16::MAX as usize;

/// The most data that one answer of a disk may carry, in bytes: what the guest may read with one request.
pub const MAX_DISK_DATA: usize = 256 << 10;

/// The highest status of a disk's answer (virtio 1.2, section 5.2.6: OK, IOERR, UNSUPP).
pub const MAX_DISK_STATUS: u8 = 2;

/// The slot of the entropy device, which every machine has.
pub const ENTROPY_SLOT: u8 = 1;

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
    /// The backing file of the virtio-blk device in `slot` has answered a request.
    DiskDone {
        /// The virtio-mmio slot of the device.
        slot: u8,
        /// Which of the device's requests.
        id: u64,
        /// How it ended, at most [`MAX_DISK_STATUS`].
        status: u8,
        /// What was read, at most [`MAX_DISK_DATA`] bytes; empty for every other request.
        data: Vec<u8>,
    },
    /// Random bytes for the entropy device, at most [`MAX_EVENT_PAYLOAD`].
    Entropy {
        /// The bytes.
        bytes: Vec<u8>,
    },
}

impl Event {
    /// The bytes this event carries, without what [`Event::identity`] covers.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match self {
            Self::NetFrame { frame, .. } => frame,
            Self::ConsoleInput(bytes) | Self::Entropy { bytes } => bytes,
            Self::DiskDone { data, .. } => data,
        }
    }

    /// The longest payload that an event of this kind may have, in bytes.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        match self {
            Self::DiskDone { .. } => MAX_DISK_DATA,
            Self::NetFrame { .. } | Self::ConsoleInput(_) | Self::Entropy { .. } => MAX_EVENT_PAYLOAD,
        }
    }

    /// Everything an event is beside its payload: kind, slot, status and id. Together with the payload it is what the
    /// digest of an execution has to cover.
    #[must_use]
    pub fn identity(&self) -> [u8; 16] {
        let (status, id) = match self {
            Self::DiskDone { id, status, .. } => (*status, *id),
            Self::NetFrame { .. } | Self::ConsoleInput(_) | Self::Entropy { .. } => (0, 0),
        };
        let mut identity = [0; 16];
        identity[..3].copy_from_slice(&[self.kind() as u8, self.slot(), status]);
        identity[8..].copy_from_slice(&id.to_le_bytes());
        identity
    }

    pub(crate) fn kind(&self) -> EventKind {
        match self {
            Self::NetFrame { .. } => EventKind::NetFrame,
            Self::ConsoleInput(_) => EventKind::ConsoleInput,
            Self::DiskDone { .. } => EventKind::DiskDone,
            Self::Entropy { .. } => EventKind::Entropy,
        }
    }

    /// The virtio slot of the device; 0 for the console, which has none.
    pub(crate) fn slot(&self) -> u8 {
        match self {
            Self::NetFrame { slot, .. } | Self::DiskDone { slot, .. } => *slot,
            Self::ConsoleInput(_) => 0,
            Self::Entropy { .. } => ENTROPY_SLOT,
        }
    }
}

/// How the log names the kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum EventKind {
    NetFrame = 1,
    ConsoleInput = 2,
    DiskDone = 3,
    Entropy = 4,
}

impl EventKind {
    pub(crate) fn from_wire(value: u8) -> Option<Self> {
        let all = [Self::NetFrame, Self::ConsoleInput, Self::DiskDone, Self::Entropy];
        all.into_iter().find(|kind| *kind as u8 == value)
    }
}
