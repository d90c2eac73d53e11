//! A guest that computes, and makes neither an exit nor an entry into its kernel: it is protected over any way, and goes on
//! wherever its primary is lost within a delta.

use std::time::Duration;

use anyhow::ensure;
use ftlog::FrameKind;
use ftvmm::{
    control::{DeltaReport, State},
    demo::pair::Place,
};
use ftvmm_tests::{
    stage::{self, PATIENCE},
    way::{Way, Wire},
};

use super::TIMEOUT_MS;

/// A wire that takes what it is given.
const FAST: Wire = Wire { delay: Duration::ZERO, bytes_per_second: 1 << 30 };

/// 10 Mbit/s, and 50 ms there and back.
const SLOW: Wire = Wire { delay: Duration::from_millis(25), bytes_per_second: 10_000_000 / 8 };

/// Some seconds of interrupts, each of which comes at a forced position.
const CMDLINE: [&str; 2] = ["--cmdline", "rounds=150 pages=32"];

/// Its primary is killed when it has told of its deltas what `is_time` wants.
fn survives(lay: fn(&str) -> anyhow::Result<Way>, is_time: fn(&DeltaReport) -> bool) {
    stage::play(TIMEOUT_MS, |stage| {
        let mut setup = stage.setup.clone();
        "builtin:spins".clone_into(&mut setup.kernel);
        setup.primary_options = CMDLINE.map(str::to_owned).to_vec();
        let (mut secondary, address) = stage.secondary(&[])?;
        let way = lay(&address)?;
        let tap = stage.free_tap(&[&secondary]);
        let mut primary = setup.primary(&stage.name("primary"), Place::here(tap), way.address())?;
        primary.wait_protected()?;
        let status = primary.wait_status("computing", PATIENCE, |status| is_time(&status.deltas))?;
        ensure!(status.state == State::Protected, "{status:?}");
        primary.process.kill()?;
        let ended = secondary.process.wait_end(PATIENCE)?;
        let said = secondary.process.log();
        ensure!(ended.code() == Some(0) && said.contains("taking over"), "{ended}: {said}");
        Ok(())
    });
}

/// All before the vCPU of the first delta arrives, and nothing else; the guest goes on from the position before.
#[test]
fn it_survives_a_primary_that_dies_within_a_delta() {
    survives(|to| Way::open_up_to(to, FAST, FrameKind::Delta), |deltas| deltas.count >= 1);
}

/// The same up to the step that it leads to.
#[test]
fn it_survives_a_primary_that_dies_before_the_step_of_a_delta() {
    survives(|to| Way::open_up_to(to, FAST, FrameKind::Steps), |deltas| deltas.count >= 1);
}

/// Each delta takes longer than the guest's ticks are apart: it is interrupted less often, and the VM stays protected.
#[test]
fn it_is_protected_over_a_slow_and_long_way() {
    survives(|to| Way::open(to, SLOW), |deltas| deltas.count >= 5);
}
