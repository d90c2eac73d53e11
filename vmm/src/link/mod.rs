//! The threads around the protocol cores: they move frames, outputs and commands, and do what the cores ask.
//!
//! ```text
//!  primary process                                       secondary process
//!  vCPU thread ── batches, outputs ──► link thread ═══ TCP ═══► link thread ── batches ──► vCPU thread
//!       ▲                                │  gate                   │  acks                    │
//!       └──────────── orders ────────────┘                         └◄──── progress ───────────┘
//! ```
//!
//! A link thread never blocks on anything but its poll. It reports what it hears to the core in the order in which it hears
//! it, and so does the primary's vCPU thread, which takes what it has recorded to the core itself when nobody else is there.

mod budget;
mod channel;
pub mod connection;
pub mod handshake;
pub mod mailbox;
pub mod primary;
mod rate;
pub mod secondary;
mod site;
mod wait;

pub use channel::Channel;
pub use site::Site;
pub use wait::Wait;
