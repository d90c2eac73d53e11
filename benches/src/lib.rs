//! What the benchmarks share: machines to measure.
//!
//! `benches/` holds the criterion benchmarks of single costs, `src/bin/bench-kv` the one of the whole program under
//! redis-benchmark, `src/bin/ack_peer.rs` the peer that it measures a primary's own cost against.

pub mod tiny;

use anyhow::Context;
use devices::PlatformConfig;
use ftvmm::{boot::Image, kvm::Host, machine::Machine};

/// A machine that runs the embedded probe `exits` for longer than any benchmark: port writes, port reads and device
/// register reads at CPL3, in the proportion 1 : 2 : 1.
///
/// # Errors
/// When this host has no usable KVM.
pub fn exits_machine() -> anyhow::Result<Machine> {
    let image = Image::open("builtin:exits", None)?;
    let devices = PlatformConfig { net_mac: None, wall_base_ns: 0 };
    let machine = Machine::boot(&Host::open()?, 16, &devices, &image, "rounds=4000000000");
    machine.context("cannot make the machine to measure")
}
