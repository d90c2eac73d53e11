//! The layout of a `Steps` body, shared by encoder and decoder.
//!
//! ```text
//! ┌───────────┬───────────┬────────┬────────┬─ ─ ─
//! │ first u64 │ count u32 │ step   │ step   │
//! └───────────┴───────────┴────────┴────────┴─ ─ ─
//! step:   time_ns u64 │ digest u32 │ exit u8 │ flags u8 │ event_count u16
//!         if flags bit 1: entries u64
//!         event_count × ( kind u8 │ slot u8 │ len u32 │ payload )
//!         if flags bit 0: mask u32 │ one u64 for each bit of the mask, lowest first
//!
//! payload of a disk's answer: id u64 │ status u8 │ data, and len counts all three; of the others: the bytes
//! ```
//!
//! Only a port exit can be the kernel-entry clock's and have `entries`, and only the first step can be a forced one.
//!
//! The mask names the registers that differ from the last ones in the same body (all zero before the first), so
//! that each frame stands alone. There is exactly one encoding of a step: what the decoder accepts, the encoder
//! gives back byte for byte.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::step::REGISTER_COUNT;

/// What precedes the steps.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Prefix {
    /// Position of the first step.
    pub first: U64,
    /// Number of steps.
    pub count: U32,
}

/// What precedes a step's events.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct StepHeader {
    /// See [`crate::Step::time_ns`].
    pub time_ns: U64,
    /// See [`crate::Step::digest`].
    pub digest: U32,
    /// An [`crate::ExitKind`].
    pub exit: u8,
    /// [`FLAG_REGISTERS`] and [`FLAG_ENTRIES`].
    pub flags: u8,
    /// At most [`crate::MAX_EVENTS_PER_STEP`].
    pub event_count: U16,
}

/// What precedes an event's payload.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EventHeader {
    /// What happened.
    pub kind: u8,
    /// The device's slot; 0 for the console.
    pub slot: u8,
    /// Bytes of payload.
    pub len: U32,
}

/// The start of the payload of a disk's answer.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DiskHeader {
    /// Which request.
    pub id: U64,
    /// How it ended.
    pub status: u8,
}

/// The length of [`Prefix`], in bytes.
pub const PREFIX_LEN: usize = size_of::<Prefix>();
/// The length of [`StepHeader`], in bytes: the shortest step.
pub const STEP_HEADER_LEN: usize = size_of::<StepHeader>();
/// The length of [`EventHeader`], in bytes.
pub const EVENT_HEADER_LEN: usize = size_of::<EventHeader>();
/// The length of [`DiskHeader`], in bytes.
pub const DISK_HEADER_LEN: usize = size_of::<DiskHeader>();

/// Registers follow the step's events.
pub const FLAG_REGISTERS: u8 = 1;
/// The exit was the kernel-entry clock's, and the guest's counter follows the header.
pub const FLAG_ENTRIES: u8 = 2;
/// The mask bits that name a register.
pub const REGISTER_MASK: u32 = (1 << REGISTER_COUNT) - 1;
