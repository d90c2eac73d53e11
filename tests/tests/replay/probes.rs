//! The probe guests that need nothing from outside.

use ftvmm_tests::{harness, record};
use tempfile::TempDir;

use super::{replay, times};

/// Records a probe again and again and replays each recording; the first of them many times.
fn check(guest: &str, rounds: u32) -> anyhow::Result<()> {
    if !harness::require_kvm() {
        return Ok(());
    }
    let directory = TempDir::with_prefix("ftvmm-test-")?;
    let (kernel, cmdline) = (format!("builtin:{guest}"), format!("rounds={rounds}"));
    let console = format!("file={}", directory.path().join("console").display());
    let options = ["--kernel", &kernel, "--cmdline", &cmdline, "--memory", "4", "--console", &console];
    for time in 0..times() {
        let (recording, log) = record::start(directory.path(), guest, &options)?;
        record::finish(recording)?;
        replay(&log, if time == 0 { times() } else { 1 })?;
    }
    let said = std::fs::read_to_string(directory.path().join("console"))?;
    assert_eq!(
        said.matches(&format!("{guest}: {rounds} rounds, checksum")).count() as u64,
        times(),
        "{said}"
    );
    Ok(())
}

#[test]
fn exits() -> anyhow::Result<()> {
    check("exits", 1000)
}

#[test]
fn interrupts() -> anyhow::Result<()> {
    check("interrupts", 100)
}

#[test]
fn clocks() -> anyhow::Result<()> {
    check("clocks", 300)
}

#[test]
fn self_modifying_code() -> anyhow::Result<()> {
    check("smc", 20_000)
}

#[test]
fn long_stretches_without_an_exit() -> anyhow::Result<()> {
    check("compute", 1)
}

/// Each of its interrupts comes at a forced position.
#[test]
fn a_guest_that_only_computes() -> anyhow::Result<()> {
    check("spins", 20)
}
