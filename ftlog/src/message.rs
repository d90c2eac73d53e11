//! Frame bodies that are neither steps nor pages.
//!
//! The rare ones are postcard, behind [`Message`]; [`Ack`] and [`Heartbeat`] are sent all the time and have fixed
//! layouts. Every text has a bound, which holds for what is sent and for what is received.

mod codec;
mod fixed;

pub use codec::{Message, MessageError};

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::position::Position;
use crate::step::REGISTER_COUNT;

/// The longest [`Hello::software`], [`Hello::holder`] or [`Welcome::software`], in bytes.
pub const MAX_NAME: usize = 256;
/// The longest [`Shape::name`], in bytes.
pub const MAX_VM_NAME: usize = 63;
/// The longest [`Shape::kernel`], in bytes (Linux's PATH_MAX).
pub const MAX_KERNEL: usize = 4096;
/// The longest [`Shape::cmdline`], in bytes: the guest platform keeps 2 KiB for it, NUL included.
pub const MAX_CMDLINE: usize = 2047;
/// The most disks of a machine.
pub const MAX_DISKS: usize = 6;
/// The longest [`Refuse::reason`], in bytes.
pub const MAX_REASON: usize = 1024;
/// The longest [`Diverged::text`], in bytes.
pub const MAX_TEXT: usize = 64 << 10;
/// The longest [`Report::json`], in bytes.
pub const MAX_REPORT: usize = 64 << 10;

/// Which VM a log belongs to; chosen at random when the VM is new, and the same for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VmId(pub [u8; 16]);

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for VmId {
    type Err = ();

    /// Reads what `Display` writes: 32 hexadecimal digits in lower case.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut id = [0; 16];
        let digits = text.as_bytes();
        if digits.len() != 32 || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(());
        }
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| ())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| ())?;
        }
        Ok(Self(id))
    }
}

/// Which disk of a VM a copy is of; chosen at random when a VM first has the disk, and the same on both sides.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DiskId(pub [u8; 16]);

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        VmId(self.0).fmt(f)
    }
}

impl FromStr for DiskId {
    type Err = ();

    /// Reads what `Display` writes, as for [`VmId`].
    fn from_str(text: &str) -> Result<Self, ()> {
        text.parse().map(|VmId(id)| Self(id))
    }
}

/// Which of a VM's successive live sides this is; each takeover claims the next one from the arbiter.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation that a takeover from this one claims. Saturates, as [`Position::next`] does.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What makes two machines the same machine, and what boots in them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The VM's name; at most [`MAX_VM_NAME`] bytes.
    pub name: String,
    /// The template of the guest's CPU; at most [`MAX_NAME`] bytes.
    pub cpu: String,
    /// Guest memory, in MiB.
    pub memory_mib: u32,
    /// Number of virtual CPUs.
    pub cpus: u32,
    /// The network device; none without a network.
    pub net: Option<NetShape>,
    /// The disks, in the order of their virtio slots; at most [`MAX_DISKS`].
    pub disks: Vec<DiskShape>,
    /// What was booted, as the command line named it; at most [`MAX_KERNEL`] bytes.
    pub kernel: String,
    /// The guest's command line; at most [`MAX_CMDLINE`] bytes.
    pub cmdline: String,
}

/// What both sides must agree on about the network device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetShape {
    /// Its MAC address.
    pub mac: [u8; 6],
    /// The largest payload of a frame, in bytes, as the guest is told.
    pub mtu: u16,
}

/// What both sides must agree on about a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskShape {
    /// Its size, in sectors of 512 bytes.
    pub sectors: u64,
    /// The guest cannot write it.
    pub readonly: bool,
    /// Where its data are.
    pub mode: DiskMode,
}

/// Where the data of a disk are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskMode {
    /// Each side has a copy of its own and writes it.
    Replicated,
    /// Both sides reach the same file; the live one writes it.
    Shared,
}

impl fmt::Display for DiskMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replicated => "replicated",
            Self::Shared => "shared",
        })
    }
}

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
    /// The last sync point that is already part of the state that follows.
    pub position: Position,
    /// Virtual time of that state, in ns since power-on.
    pub time_ns: u64,
    /// Unix time at power-on, in ns.
    pub wall_base_ns: u64,
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

/// How a side is, beyond being heard.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Condition {
    /// For how long the thread that executes the guest has had something to do and has done nothing, in ns.
    pub stalled_ns: u64,
    /// What the guest could not reach from there.
    pub health: Health,
}

/// What ails a side's ways out, as a set. Bits that this program does not know count as an ailment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Health(pub u64);

impl Health {
    /// The network device is not there, or down.
    pub const NETWORK: Self = Self(1);
    /// A disk gives errors.
    pub const DISK_FAILS: Self = Self(2);
    /// A disk has not answered for long.
    pub const DISK_STALLS: Self = Self(4);

    /// Nothing ails it.
    #[must_use]
    pub fn is_well(self) -> bool {
        self == Self::default()
    }

    /// Whether all that `other` names ails it.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both's.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::NETWORK, "its network device is gone or down"),
            (Self::DISK_FAILS, "a disk fails"),
            (Self::DISK_STALLS, "a disk does not answer"),
        ];
        let mut said = false;
        for (_, name) in names.iter().filter(|(ailment, _)| self.has(*ailment)) {
            write!(f, "{}{name}", if said { ", " } else { "" })?;
            said = true;
        }
        if said {
            Ok(())
        } else {
            f.write_str(if self.is_well() { "well" } else { "something unknown ails it" })
        }
    }
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
