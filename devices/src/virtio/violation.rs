//! The ways in which a driver can break the virtio protocol.

use serde::{Deserialize, Serialize};

/// What a guest's driver did against virtio 1.2, so that its device needs a reset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Violation {
    /// Section 2.1.1: status bits are set in order and cleared only by a reset.
    #[error(
        "status {written:#04x} written over {status:#04x}: bits are set in order and cleared only by a reset"
    )]
    Status {
        /// The status before.
        status: u32,
        /// What the driver wrote.
        written: u32,
    },
    /// Section 3.1.1: queues are set up after the features are negotiated.
    #[error("queue {queue} enabled before FEATURES_OK")]
    QueueBeforeFeatures {
        /// Index of the queue.
        queue: u16,
    },
    /// Section 2.7: the size is a power of two within the maximum, the parts are aligned and in RAM.
    #[error(
        "queue {queue} enabled with {size} descriptors at {descriptors:#x}, available ring at {available:#x}, \
         used ring at {used:#x}: size, alignment or place in RAM is wrong"
    )]
    QueueSetup {
        /// Index of the queue.
        queue: u16,
        /// Number of descriptors.
        size: u32,
        /// Guest-physical address of the descriptor table.
        descriptors: u64,
        /// Guest-physical address of the available ring.
        available: u64,
        /// Guest-physical address of the used ring.
        used: u64,
    },
    /// Section 2.7.13: at most as many chains are available as the queue has descriptors.
    #[error(
        "queue {queue}: more chains available than the queue has descriptors (device is at index {next})"
    )]
    AvailableIndex {
        /// Index of the queue.
        queue: u16,
        /// Index in the available ring up to which the device has come.
        next: u16,
    },
    /// Section 2.7.5: a chain ends with a descriptor without NEXT, after valid indices, below 4 GiB in all.
    #[error(
        "queue {queue}: chain {head} does not end: a loop, an index outside the table, an indirect table in \
         the wrong place, or 4 GiB of buffers"
    )]
    ChainWithoutEnd {
        /// Index of the queue.
        queue: u16,
        /// Head of the chain.
        head: u16,
    },
    /// Section 2.7.5.3.1: a chain is at most as long as the queue.
    #[error("queue {queue}: chain {head} is longer than the queue")]
    ChainTooLong {
        /// Index of the queue.
        queue: u16,
        /// Head of the chain.
        head: u16,
    },
    /// A buffer that is not wholly in RAM.
    #[error("queue {queue}: chain {head}: buffer of {len} bytes at {address:#x} is not in RAM")]
    BufferOutsideRam {
        /// Index of the queue.
        queue: u16,
        /// Head of the chain.
        head: u16,
        /// Guest-physical address of the buffer.
        address: u64,
        /// Its length in bytes.
        len: u32,
    },
    /// Sections 2.7.4.2 and 5.1.6: device-readable buffers come before device-writable ones; a transmitted frame
    /// has none of the latter, a receive buffer and one for random bytes none of the former.
    #[error("queue {queue}: chain {head}: a buffer has the wrong direction")]
    BufferDirection {
        /// Index of the queue.
        queue: u16,
        /// Head of the chain.
        head: u16,
    },
    /// Sections 5.1.6 and 5.2.6: a chain holds at least the header.
    #[error("queue {queue}: chain {head}: {len} bytes cannot hold the header")]
    HeaderDoesNotFit {
        /// Index of the queue.
        queue: u16,
        /// Head of the chain.
        head: u16,
        /// Length of the chain in bytes.
        len: u64,
    },
    /// Section 5.2.6: the last byte of a disk request is the device's, for the status.
    #[error("queue {queue}: chain {head}: no byte for the status")]
    StatusDoesNotFit {
        /// Index of the queue.
        queue: u16,
        /// Head of the chain.
        head: u16,
    },
    /// Section 2.7.13: a chain is the device's until it is in the used ring.
    #[error("queue {queue}: chain {head} made available while the device has it")]
    ChainInUse {
        /// Index of the queue.
        queue: u16,
        /// Head of the chain.
        head: u16,
    },
    /// A ring cannot be read or written.
    #[error("queue {queue}: cannot access its rings")]
    RingAccess {
        /// Index of the queue.
        queue: u16,
    },
    /// Section 4.2.2: the driver notifies about queues the device has.
    #[error("notification of queue {queue}, which the device does not have")]
    NotifiedQueue {
        /// What the driver wrote.
        queue: u32,
    },
}
