//! Whether and with what the tests run.

use std::{
    env,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use ftvmm::demo::net;
use machine::{EntryClock, Machine, MachineError, Reached};

/// Set to 1 where there is no KVM, and where that is as it should be.
pub const WITHOUT_KVM: &str = "FTVMM_TEST_WITHOUT_KVM";

/// Whether a test that needs KVM and a network of its own can run; one that cannot says that it is skipped.
///
/// # Panics
/// When it cannot although it should: without [`WITHOUT_KVM`] in the environment.
#[must_use]
pub fn require_kvm() -> bool {
    let missing = net::missing();
    if missing.is_empty() {
        return true;
    }
    let allowed = env::var(WITHOUT_KVM).is_ok_and(|value| value == "1");
    assert!(allowed, "this test lacks (set {WITHOUT_KVM}=1 to skip it): {missing:#?}");
    println!("skipped: {missing:?}");
    false
}

/// Runs the guest to its next sync point, however often KVM interrupts it before, which it does without a signal too.
///
/// # Errors
/// What ended it against its will.
pub fn reach(machine: &mut Machine, clock: EntryClock) -> Result<Reached, MachineError> {
    loop {
        if let Some(reached) = machine.run_stretch(clock)? {
            return Ok(reached);
        }
    }
}

/// The ftvmm program: `FTVMM_BIN`, or the one that was built with the tests.
///
/// # Errors
/// When there is none, with what to do about it.
pub fn program() -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os("FTVMM_BIN") {
        return Ok(path.into());
    }
    // target/<profile>/deps/<test>-<hash> stands below target/<profile>/ftvmm.
    let test = env::current_exe().context("cannot tell which program this is")?;
    let profile = test.parent().and_then(Path::parent).context("the test is in no target directory")?;
    let program = profile.join("ftvmm");
    ensure!(
        program.exists(),
        "{} is missing: build it with cargo build -p ftvmm, or set FTVMM_BIN",
        program.display()
    );
    Ok(program)
}

/// The seed of a randomised test: `FTVMM_SEED`, or a new one. Printed, so that a failure can be repeated.
///
/// # Panics
/// When `FTVMM_SEED` is no number.
#[must_use]
pub fn seed() -> u64 {
    let seed = number("FTVMM_SEED").unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
    });
    println!("FTVMM_SEED={seed}");
    seed
}

/// A number from the environment.
///
/// # Panics
/// When it is no number.
#[must_use]
pub fn number(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no number: {value:?}")))
}
