//! What can be wrong with a saved state, its version first.

use crate::virtio::{MAX_DISKS, MAX_MTU, MIN_MTU, Violation};

/// Version of [`PlatformState`](crate::PlatformState); another one is refused.
pub const STATE_VERSION: u16 = 3;

/// Why a saved state was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The state is of another version.
    #[error("device state has version {found}, this build reads version {STATE_VERSION}")]
    Version {
        /// The version in the state.
        found: u16,
    },
    /// More console input than the UART can hold.
    #[error("UART holds {len} bytes of input, at most {capacity} fit")]
    SerialInput {
        /// Bytes in the state.
        len: usize,
        /// Bytes that fit.
        capacity: usize,
    },
    /// UART registers with bits set that cannot be.
    #[error("UART registers have reserved bits set: IER {interrupt_enable:#04x}, MCR {modem_control:#04x}")]
    SerialRegisters {
        /// IER.
        interrupt_enable: u8,
        /// MCR.
        modem_control: u8,
    },
    /// The clock page is not wholly in RAM.
    #[error("clock page frame {page_frame:#x} is not wholly in RAM")]
    ClockPage {
        /// Its page frame number.
        page_frame: u32,
    },
    /// The virtio transport is in a state that no driver can bring about.
    #[error(
        "virtio slot {slot}: status {status:#04x} with driver features {features:#x} and interrupt status \
         {interrupt_status:#x} cannot be"
    )]
    Transport {
        /// The virtio slot.
        slot: u8,
        /// The status register.
        status: u32,
        /// The features the driver accepted.
        features: u64,
        /// The interrupt status register.
        interrupt_status: u32,
    },
    /// A virtio device with another number of queues.
    #[error("virtio slot {slot}: state has {found} queues, the device has {expected}")]
    QueueCount {
        /// The virtio slot.
        slot: u8,
        /// Queues in the state.
        found: usize,
        /// Queues of the device.
        expected: usize,
    },
    /// A virtio queue that no driver could have set up.
    #[error("virtio slot {slot}: {violation}")]
    Queue {
        /// The virtio slot.
        slot: u8,
        /// What is wrong with it.
        violation: Violation,
    },
    /// A network device whose frames cannot be so long.
    #[error("a network device with an MTU of {mtu} cannot be: {MIN_MTU} to {MAX_MTU}")]
    Mtu {
        /// Its MTU.
        mtu: u16,
    },
    /// More disks than a VM can have.
    #[error("state has {found} disks, at most {MAX_DISKS} fit")]
    DiskCount {
        /// Disks in the state.
        found: usize,
    },
    /// A disk that cannot be.
    #[error("virtio slot {slot}: no disk has {sectors} sectors and a serial number of {id_len} bytes")]
    Disk {
        /// The virtio slot.
        slot: u8,
        /// Its size in sectors.
        sectors: u64,
        /// Length of its serial number.
        id_len: usize,
    },
    /// Something is under way in a device whose driver is not ready or has broken the protocol.
    #[error("virtio slot {slot}: requests in flight without a driver")]
    NotServing {
        /// The virtio slot.
        slot: u8,
    },
    /// More requests in flight than the queue has descriptors, or numbers that do not ascend.
    #[error("virtio slot {slot}: {count} requests in flight, numbered below {next_id}, cannot be")]
    Requests {
        /// The virtio slot.
        slot: u8,
        /// How many.
        count: usize,
        /// The number of the next request.
        next_id: u64,
    },
    /// A request in flight that the device would not have taken.
    #[error("virtio slot {slot}: request {id} cannot be in flight")]
    Request {
        /// The virtio slot.
        slot: u8,
        /// Which.
        id: u64,
    },
}
