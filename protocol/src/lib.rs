//! What a primary and a secondary do about each other, in cores that can do no I/O: this crate has no `std`.
//!
//! Each core is a state machine `(state, event, now) → (state, effects)`: no I/O, no clock, no randomness, bounded
//! memory. The threads around it report events and carry out the effects *in the order given*. Time is the
//! clock of the core's own host in ns, which goes on while that is suspended; two hosts' clocks are never compared.
//!
//! ```text
//!  primary, generation g                                secondary
//!      Unprotected ──── Hello ───────────────────────────►  │
//!        │   ◄───────── Welcome{window} ──────────────── Seeding
//!      Seeding ──────── state at position P ─────────────►  │
//!        │ gate closes                                      │
//!        ├───────────── SeedDone ────────────────────────►  │
//!        │   ◄───────── SeedHeld{P} ──────────────────── Following
//!      Protected ────── Steps P+1 … N ───────────────────►  │
//!        │   ◄───────── Ack{received N, executed …} ────────┤ before execution
//!        │ outputs ≤ N leave                                │
//!        ├───────────── Heartbeat{released} ─────────────►  │
//!        ╳                       link lost                  ╳
//!      Arbitrating                                       Draining ─ all executed ─► Arbitrating
//!        │── claim g+1: won  ► Unprotected at g+1            │── claim g+1: won  ► Live at g+1
//!        └── claim g+1: lost ► Halted                        └── claim g+1: lost ► Discarded
//! ```
//!
//! Safety rests on acknowledgements, on the order of effects and on the arbiter, never on time: a timeout that fires
//! too early, too late or after a process was stopped for an hour costs protection, not consistency.

// Only tests have `std`, and the switches that they disable checks with.
#![cfg_attr(not(any(test, feature = "sabotage")), no_std)]

extern crate alloc;

pub mod arbiter;
mod arbitration;
pub mod commit;
mod config;
mod detector;
pub mod fence;
mod loss;
pub mod primary;
pub mod sabotage;
pub mod secondary;
pub mod seeding;
mod stall;

pub use config::{Config, LOOK_NS, MAX_HEARTBEAT_NS, YIELD_NS};
pub use loss::{LossReason, Recovery, Violation};
pub use stall::Stall;
