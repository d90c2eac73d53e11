//! Real executions on a real KVM: recorded, replayed with every digest equal, and refused when their log is damaged.
//!
//! Needs root. `FTVMM_REPLAYS=N` sets how often each guest is recorded and replayed (10). Where KVM is missing,
//! `FTVMM_TEST_WITHOUT_KVM=1` skips these tests.

#[path = "replay/console.rs"]
mod console;
#[path = "replay/damage.rs"]
mod damage;
#[path = "replay/disk.rs"]
mod disk;
#[path = "replay/entries.rs"]
mod entries;
#[path = "replay/events.rs"]
mod events;
#[path = "replay/frames.rs"]
mod frames;
#[path = "replay/kv.rs"]
mod kv;
#[path = "replay/player.rs"]
mod player;
#[path = "replay/probes.rs"]
mod probes;
#[path = "replay/resets.rs"]
mod resets;

use std::path::Path;

use ftvmm_tests::{
    harness,
    record::{self, Log},
};

/// How often each guest is recorded and replayed.
fn times() -> u64 {
    harness::number("FTVMM_REPLAYS").unwrap_or(10)
}

/// Replays a log `times` times: each comes to the state in which the recording ended.
fn replay(log: &Path, times: u64) -> anyhow::Result<()> {
    let recorded = Log::read(log)?.end().digests;
    assert_eq!(player::digests(log)?, recorded, "replayed in this process");
    for time in 0..times {
        assert_eq!(record::replay(log)?.digests()?, recorded, "replay {time}");
    }
    Ok(())
}
