//! A guest that computes and comes to no sync point: every command is answered.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use ftvmm::control::Takeover;
use ftvmm_tests::stage::{self, Pair};

use super::{SOON, TIMEOUT_MS};

/// Some seconds of short stretches, and one that takes longer than any test.
const CMDLINE: [&str; 2] = ["--cmdline", "rounds=1500 passes=100 last=4000000000"];

#[test]
fn a_guest_that_only_computes_can_be_seeded_and_failed_over() {
    stage::play(TIMEOUT_MS, |stage| {
        let mut setup = stage.setup.clone();
        "builtin:compute".clone_into(&mut setup.kernel);
        setup.primary_options = CMDLINE.map(str::to_owned).to_vec();
        let Pair { mut primary, mut secondary, .. } = stage.pair_of(&setup)?;
        primary.wait_status("computing", 2 * SOON, |status| status.guest_silent_ms > 1000.0)?;
        let control = primary.control().to_str().context("the socket's path is no text")?.to_owned();
        // It comes to no sync point for its stop.
        for command in ["suspend", "resume"] {
            let output = stage.ftvmm(&[command, "--control", &control])?;
            ensure!(output.status.success(), "{command}: {output:?}");
        }
        primary.wait_protected()?;
        primary.wait_status("computing", SOON, |status| status.guest_silent_ms > 1000.0)?;

        let asked = Instant::now();
        let output = stage.ftvmm(&["test-failover", "--control", &control, "--json"])?;
        ensure!(output.status.success(), "{output:?}");
        ensure!(asked.elapsed() < Duration::from_secs(9), "answered after {:?}", asked.elapsed());
        let said = String::from_utf8_lossy(&output.stdout);
        let takeover: Takeover = serde_json::from_str(said.lines().last().unwrap_or_default())?;
        ensure!(takeover.generation == 3, "{takeover:?}");
        primary.process.wait_end(SOON)?;
        secondary.wait_status("computing", SOON, |status| status.guest_silent_ms > 1000.0)?;
        Ok(())
    });
}
