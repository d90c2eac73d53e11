//! What the integration tests share.
//!
//! [`harness`] finds the program and decides whether a test can run here, [`stage`] gives a test a network with pairs
//! in it, [`hosts`] one with two hosts that can be cut off from each other, [`linearizability`] judges what clients
//! saw, [`record`] makes recordings and takes their logs apart.

pub mod harness;
pub mod hosts;
pub mod linearizability;
pub mod record;
pub mod stage;
