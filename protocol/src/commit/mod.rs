//! Output commit: nothing the guest says leaves before the log that led to it is safe.
//!
//! ```text
//!  primary:   device ─► Gate ── Ack.received ≥ position ──► network, console
//!  secondary: device ─► Unreleased ── Heartbeat.released ≥ position ──► forgotten
//!                           └───────── takeover ──► network, console (maybe a second time)
//! ```
//!
//! The secondary's VM says the same things as the primary's. What the primary is known to have released is
//! forgotten; the rest is said again at takeover, for it may never have left.

mod gate;
mod unreleased;

pub use gate::{Gate, GateFull, Held, Limits};
pub use unreleased::Unreleased;
