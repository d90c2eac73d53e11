//! What the integration tests share.
//!
//! [`harness`] finds the program and decides whether a test can run here, [`stage`] gives a test a network with pairs
//! in it, [`hosts`] one with two hosts that can be cut off from each other, [`linearizability`] judges what clients
//! saw, [`survivor`] tells which side goes on, [`outlets`] breaks
//! what a process writes to, [`rows`] are clients of a database, [`disks`] makes disks and [`ledger`]
//! looks at what is on them, [`elf`] makes guests of a few bytes, [`record`] makes recordings and takes their logs apart, [`lab`] gives a test two machines of
//! which one can lose power, [`way`] is a slow wire between two processes, at whose ends one can listen.

pub mod cpu;
pub mod disks;
pub mod elf;
pub mod frozen;
pub mod harness;
pub mod hosts;
pub mod lab;
pub mod ledger;
pub mod linearizability;
pub mod outlets;
pub mod record;
pub mod rows;
pub mod stage;
pub mod survivor;
pub mod way;
