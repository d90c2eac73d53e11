//! What the benchmarks share: machines to measure, and what becomes of the figures.
//!
//! `benches/` holds the criterion benchmarks of single costs, `src/bin/bench-kv` the one of the whole program under
//! redis-benchmark, `src/bin/ack_peer.rs` the peer that it measures a primary's own cost against, `src/bin/bench-commit`
//! that of the path of an output, `src/bin/bench-seed` that of what is said beside a seed, `src/bin/bench-stop.rs`
//! that of how long a guest stands for one, `src/bin/bench-compute.rs` that of what it costs to stop a guest that
//! computes, `src/bin/bench-dirty` compares ways to learn which pages were written, `src/bin/bench-busy` is that of what clients
//! of a Linux guest that computes wait for, `src/bin/bench-migrate` that of such a guest's way to another host, beside QEMU's
//! live migration, `src/bin/bench-compile` that of a Linux guest that compiles, which `benches/compile.rs` has criterion measure
//! as well, and `src/bin/bench-exits` counts VM exits.

pub mod host;
pub mod linux;
pub mod numbers;
pub mod ping;
pub mod spread;
pub mod table;
pub mod targets;
pub mod tiny;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, ensure};
use devices::PlatformConfig;
use ftvmm::demo::net;
use machine::{Machine, boot::Image, kvm::Host};

/// A machine that runs the embedded probe `exits` for longer than any benchmark: port writes, port reads and device
/// register reads at CPL3, in the proportion 1 : 2 : 1.
///
/// # Errors
/// When this host has no usable KVM.
pub fn exits_machine() -> anyhow::Result<Machine> {
    let image = Image::open("builtin:exits", None)?;
    let devices =
        PlatformConfig { net: None, disks: Vec::new(), wall_base_ns: 0, on_panic: devices::OnPanic::Halt };
    let host = Host::open()?;
    let machine = Machine::boot(&host, host.richest_cpu()?, 16, &devices, &image, "rounds=4000000000");
    machine.context("cannot make the machine to measure")
}

/// Ends the benchmark `name`, which has shown what it found or says why there is nothing to show.
pub fn end(name: &str, done: anyhow::Result<()>) -> ExitCode {
    if let Err(error) = done {
        eprintln!("{name}: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Measures on a network of its own with these TAP devices, in which the calling thread stays, and with its files in memory,
/// so that no disk is measured. Where that fails, the benchmark `name` says where the logs are.
///
/// # Errors
/// What is missing, and those of `measure`.
pub fn in_memory<T>(
    name: &str,
    taps: &[&str],
    measure: impl FnOnce(&Path) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    require_network()?;
    net::enter(taps)?;
    let directory = tempfile::Builder::new().prefix("ftvmm-bench-").tempdir_in("/dev/shm")?;
    let measured = measure(directory.path());
    if measured.is_err() {
        eprintln!("{name}: logs are in {}", directory.keep().display());
    }
    measured
}

/// Makes sure that what a network of one's own takes is there.
///
/// # Errors
/// What is missing.
pub fn require_network() -> anyhow::Result<()> {
    let missing = net::missing();
    ensure!(missing.is_empty(), "this benchmark lacks:\n  - {}", missing.join("\n  - "));
    Ok(())
}

/// Another build of ftvmm, to be measured in turn with [`neighbour`]'s.
///
/// # Errors
/// When it is not there.
pub fn other_build(path: &Path) -> anyhow::Result<PathBuf> {
    fs::canonicalize(path).with_context(|| format!("no {}", path.display()))
}

/// A program that was built beside this one.
///
/// # Errors
/// When it is not there.
pub fn neighbour(name: &str) -> anyhow::Result<PathBuf> {
    let this = env::current_exe().context("cannot tell which program this is")?;
    let path = this.with_file_name(name);
    let how = "build all of them with: cargo build --release -p ftvmm -p ftvmm-benches";
    ensure!(path.exists(), "{} is missing; {how}", path.display());
    Ok(path)
}
