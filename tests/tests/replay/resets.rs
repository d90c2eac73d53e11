//! A guest that resets its machine again and again.

use ftlog::FrameKind;
use ftvmm_tests::{
    harness,
    record::{self, Log},
};
use tempfile::TempDir;

use super::{replay, times};

#[test]
fn a_machine_that_begins_again_replays_the_same() -> anyhow::Result<()> {
    if !harness::require_kvm() {
        return Ok(());
    }
    let directory = TempDir::with_prefix("ftvmm-test-")?;
    let path = directory.path().join("console");
    let console = format!("file={}", path.display());
    let options =
        ["--kernel", "builtin:resets", "--cmdline", "rounds=60", "--memory", "8", "--console", &console];
    for time in 0..times() {
        let (recording, log) = record::start(directory.path(), "resets", &options)?;
        record::finish(recording)?;
        let said = std::fs::read_to_string(&path)?;
        let (lives, ends) = (said.matches("alive at").count(), said.matches("60 rounds, checksum").count());
        assert!(lives > 2 * ends && ends as u64 == time + 1, "{said}");
        let frames = Log::read(&log)?.frames;
        assert!(frames.iter().any(|(kind, _)| *kind == FrameKind::BootPages), "the log has the image");
        replay(&log, if time == 0 { times() } else { 1 })?;
    }
    Ok(())
}
