//! Frame bodies that are neither steps nor pages.
//!
//! The rare ones are postcard, behind [`Message`]; [`Ack`] and [`Heartbeat`] are sent all the time and have fixed
//! layouts. Every text has a bound, which holds for what is sent and for what is received.

mod codec;
mod condition;
mod fixed;
mod identity;
mod shape;

pub use codec::{Message, MessageError};
pub use condition::{Condition, Health};
pub use identity::{DiskId, Generation, VmId};
pub use shape::{DiskMode, DiskShape, MAX_CMDLINE, MAX_DISKS, MAX_KERNEL, MAX_VM_NAME, NetShape, Shape};

use serde::{Deserialize, Serialize};

use crate::position::Position;
use crate::step::REGISTER_COUNT;

/// The longest [`Hello::software`], [`Hello::holder`] or [`Welcome::software`], in bytes.
pub const MAX_NAME: usize = 256;
/// The longest [`Refuse::reason`], in bytes.
pub const MAX_REASON: usize = 1024;
/// The longest [`Diverged::text`], in bytes.
pub const MAX_TEXT: usize = 64 << 10;
/// The longest [`Report::json`], in bytes.
pub const MAX_REPORT: usize = 64 << 10;

/// The body of a `Begin` frame: what the execution that follows starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The VM.
    pub vm: VmId,
    /// The generation that recorded it.
    pub generation: Generation,
    /// The machine.
    pub shape: Shape,
    /// Digest of the CPUID table the guest sees.
    pub cpu_table: u64,
    /// Unix time at power-on, in ns.
    pub wall_base_ns: u64,
    /// Key of the digests of pages by which the receiving side says what it has already; another one in each seed, so that
    /// no guest can make pages whose digests are equal.
    pub digest_key: u64,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Make the listener the secondary of the VM: a seed and then the log follow.
    Protect,
    /// Ask the listener for a report; nothing changes.
    Query,
    /// Ask the listener whether it runs or holds the VM, which the sender wants to start.
    Start,
    /// Ask the listener whether it would become the secondary of the VM; nothing changes.
    Probe,
}

/// The connecting side's first frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Name and version of the program; at most [`MAX_NAME`] bytes.
    pub software: String,
    /// The VM.
    pub vm: VmId,
    /// The sender's generation.
    pub generation: Generation,
    /// What the connection is for.
    pub purpose: Purpose,
    /// The machine.
    pub shape: Shape,
    /// Digest of the CPUID table the guest sees.
    pub cpu_table: u64,
    /// Who holds `generation` in the arbiter; at most [`MAX_NAME`] bytes.
    pub holder: String,
    /// What tells the sender's arbiter from others; at most [`MAX_NAME`] bytes.
    pub arbiter: String,
    /// How long after it sent log that the listener has acknowledged the sender may write shared disks, in ns.
    pub lease_ns: u64,
    /// What the sender knows of its disks, in the order of the shape; at most [`MAX_DISKS`].
    pub disks: Vec<DiskLine>,
}

/// Which disk a copy is of, and what of the VM's past it does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskLine {
    /// The disk, if that is known.
    pub id: Option<DiskId>,
    /// The first and the last generation of which something is missing, because the VM was started from an older copy.
    pub lacks: Option<(Generation, Generation)>,
}

/// The answer to a [`Hello`] that is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Name and version of the program; at most [`MAX_NAME`] bytes.
    pub software: String,
    /// How many bytes of unexecuted log the sender can hold.
    pub window_bytes: u64,
    /// Digest of the sender's CPUID table.
    pub cpu_table: u64,
}

/// The answer to a [`Hello`] that is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refuse {
    /// Why, for the operator; at most [`MAX_REASON`] bytes.
    pub reason: String,
}

impl Refuse {
    /// A refusal; a longer reason is cut.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: cut(reason.into(), MAX_REASON) }
    }
}

/// How far the secondary is. Fixed layout: it is sent for every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The last sync point whose record the secondary holds.
    pub received: Position,
    /// The last sync point it has executed.
    pub executed: Position,
    /// Virtual time at `executed`, in ns.
    pub executed_time_ns: u64,
    /// Bytes of log executed since the seed.
    pub executed_bytes: u64,
    /// How the secondary is.
    pub condition: Condition,
}

/// A sign of life. Fixed layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// The sender's last sync point.
    pub position: Position,
    /// The sync point up to which outputs have left.
    pub released: Position,
    /// The sender's virtual time, in ns.
    pub time_ns: u64,
    /// For how long after log was sent its acknowledgement lets the sender write shared disks, in ns; 0 where it writes
    /// none. It holds for what is sent after this.
    pub lease_ns: u64,
    /// How the sender is.
    pub condition: Condition,
}

/// Digests of the whole state at one position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDigests {
    /// All guest memory.
    pub memory: u128,
    /// The vCPU.
    pub vcpu: u64,
    /// Every device and the clock.
    pub platform: u64,
    /// The running digest of the sync points.
    pub running: u64,
}

/// The orderly end of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The last sync point of the log.
    pub position: Position,
    /// Virtual time there, in ns.
    pub time_ns: u64,
    /// The state there.
    pub digests: StateDigests,
}

/// The secondary's execution is not the primary's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diverged {
    /// The first sync point that differs.
    pub position: Position,
    /// What differs, for the operator; at most [`MAX_TEXT`] bytes.
    pub text: String,
    /// The sender's registers there, in the order of [`crate::REGISTER_NAMES`].
    pub registers: [u64; REGISTER_COUNT],
}

impl Diverged {
    /// A divergence; a longer text is cut.
    #[must_use]
    pub fn new(position: Position, text: impl Into<String>, registers: [u64; REGISTER_COUNT]) -> Self {
        Self { position, text: cut(text.into(), MAX_TEXT), registers }
    }
}

/// The primary's registers at a position where the secondary diverged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    /// The sync point.
    pub position: Position,
    /// The registers there, in the order of [`crate::REGISTER_NAMES`]; none if they are no longer known.
    pub registers: Option<[u64; REGISTER_COUNT]>,
}

/// The answer to a `Query`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The sender's status as JSON; at most [`MAX_REPORT`] bytes.
    pub json: String,
}

/// Cuts a text that may be longer than its bound: part of an explanation is better than none.
fn cut(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    text
}
