//! The threads around the protocol cores: they move frames, outputs and commands, and do what the cores ask.
//!
//! ```text
//!  primary process                                       secondary process
//!  vCPU thread ── batches, outputs ──► link thread ═══ TCP ═══► link thread ── batches ──► vCPU thread
//!       ▲                                │  gate                   │  acks                    │
//!       └──────────── orders ────────────┘                         └◄──── progress ───────────┘
//! ```
//!
//! A link thread never blocks on anything but its poll: it owns the connection and the core, and reports what it
//! hears to the core in the order in which it hears it.

mod budget;
pub mod connection;
pub mod handshake;
pub mod mailbox;
pub mod primary;
mod rate;
pub mod secondary;
mod site;

pub use site::Site;
