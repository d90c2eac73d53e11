//! The fault-tolerance log: one format, on disk and on the wire.
//!
//! A stream (a file, or one direction of a connection) is a row of frames, counted from 0, with separate checksums
//! of header and body. What a frame holds, its kind says:
//!
//! ```text
//! ┌ frame 0 ──────────┐┌ frame 1 ──────────┐┌ frame 2 ──────────┐
//! │ header │ body     ││ header │ body     ││ header │ body     │ …
//! └────────┴──────────┘└────────┴──────────┘└────────┴──────────┘
//!   40 bytes, [`mod@frame`]
//!
//! a file:      Begin  BootPages*  Pages*  State  ([Pages* Delta] Steps)*  End
//!              └ initial state ───────────────┘  └ log ─────────────────┘ └ digests of the state at the end; without it the file was cut off
//!
//! primary   →  Hello            Begin  BootPages* (Pages* SeedRound)* State SeedDone       ([Pages* Delta] Steps)* AskPages* Heartbeat* … Registers | Detach | End
//!                               DiskRegions* DiskBlock* (each at any time before SeedDone)
//! secondary →         Welcome   DiskBases* DiskDigests*  PageDigests* SeedRound*  SeedHeld  Ack*   PageDigests*  Heartbeat* … Diverged
//!                   | Refuse
//!
//! Steps body:  first position │ count │ step … step              [`step`]
//! step:        time │ digest │ exit │ flags │ kernel entries │ events … │ registers that changed
//! ```
//!
//! All numbers are little-endian. The hot records ([`Step`], [`Ack`], [`Heartbeat`], [`mod@pages`]) have fixed
//! layouts, the rest is postcard ([`message`]). Whatever a peer or a disk sends is decoded within a memory bound
//! proportional to [`MAX_BODY`] and ends in a value or an error that names the place; nothing panics.
//!
//! A change of anything here is a new [`FORMAT_VERSION`] with its own golden files in `tests/golden`.

pub mod delta;
mod digest;
pub mod disks;
pub mod event;
pub mod frame;
pub mod fuzz;
pub mod message;
pub mod page_digests;
pub mod pages;
pub mod position;
pub mod reader;
mod registers;
pub mod step;
pub mod writer;

pub use delta::{ArrivingDelta, Delta, DeltaError, MAX_VCPU};
pub use digest::RunningDigest;
pub use disks::{
    DIGESTS_PER_FRAME, DISK_BLOCK, DiskBase, DiskBases, DiskBlock, DiskDigests, DiskRegions, DisksError,
    MAX_BASES, MAX_REGIONS, blocks_in_region,
};
pub use event::{
    ENTROPY_SLOT, Event, MAX_DISK_DATA, MAX_DISK_STATUS, MAX_EVENT_PAYLOAD, MAX_EVENTS_PER_STEP,
};
pub use frame::{
    FORMAT_VERSION, Frame, FrameDecoder, FrameError, FrameKind, FrameProblem, HEADER_LEN, MAX_BODY,
    encode_frame,
};
pub use message::{
    Ack, Condition, DiskId, DiskLine, DiskMode, DiskShape, Diverged, End, Generation, Health, Heartbeat,
    Hello, MAX_DISKS, Manifest, Message, MessageError, NetShape, Purpose, Refuse, Registers, Report, Shape,
    StateDigests, VmId, Welcome,
};
pub use page_digests::{PAGE_DIGESTS_PER_FRAME, PageDigests, PageDigestsError};
pub use pages::{
    ENTRIES_PER_FRAME, PAGE_SIZE, PAGES_PER_FRAME, Pages, PagesEncoder, PagesError, decode_pages,
};
pub use position::Position;
pub use reader::FrameReader;
pub use registers::{RegisterFile, describe, describe_both};
pub use step::{
    DecodeError, EncodeError, ExitKind, REGISTER_COUNT, REGISTER_NAMES, Step, StepEncoder, StepProblem,
    StepRef, StepsFrame, UnknownExitKind, decode_steps,
};
pub use writer::FrameWriter;
