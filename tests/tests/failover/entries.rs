//! A guest that makes no exit of its own, or not even an entry into its kernel, is protected, taken over, and goes on with
//! its timer.

use std::fs;

use anyhow::{Context, ensure};
use ftvmm::demo::wait;
use ftvmm_tests::{
    harness,
    stage::{self, PATIENCE},
};

use super::{SOON, TIMEOUT_MS};

/// Some seconds of interrupts that come at kernel entries: more than it takes to be protected.
#[test]
fn a_guest_without_exits_of_its_own_survives_its_primary() {
    survives("builtin:entries", "rounds=4000");
}

/// The same with interrupts that come at forced positions.
#[test]
fn a_guest_that_only_computes_survives_its_primary() {
    survives("builtin:spins", "rounds=300");
}

fn survives(kernel: &'static str, cmdline: &'static str) {
    stage::play(TIMEOUT_MS, move |stage| {
        let (mut secondary, address) = stage.secondary(&[])?;
        let console = stage.directory().join("entries.console");
        let (arbiter, target) =
            (format!("file:{}", stage.setup.arbiter.display()), format!("file={}", console.display()));
        let program = harness::program()?;
        let mut arguments = vec!["primary", "--kernel", kernel, "--cmdline", cmdline, "--peer", &address];
        arguments.extend(["--arbiter", &arbiter, "--console", &target, "--failure-timeout", "1000"]);
        let mut primary =
            stage.spawn(program.to_str().context("the program's path is no text")?, &arguments)?;

        // It comes to a sync point to be seeded, and to every one of its interrupts, only because it is called.
        wait::until("the guest to be protected", PATIENCE, || {
            ensure!(primary.ended()?.is_none(), "it was through too soon: {}", primary.log());
            Ok(primary.log().contains("protected: ").then_some(()))
        })?;
        primary.kill()?;
        let ended = secondary.process.wait_end(4 * SOON)?;
        assert_eq!(ended.code(), Some(0), "{}", secondary.process.log());
        assert!(secondary.process.log().contains("taking over"), "{}", secondary.process.log());
        let said = fs::read_to_string(console)?;
        assert!(!said.contains("checksum"), "the primary was through: {said}");
        Ok(())
    });
}
