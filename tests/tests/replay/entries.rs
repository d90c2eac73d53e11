//! The kernel-entry clock: what was delivered to a guest that makes no exit of its own comes at the same entry again,
//! and a log that names another entry is found out.

use std::time::{Duration, Instant};

use ftlog::{ExitKind, FrameKind, StepsFrame};
use ftvmm_tests::{harness, record};
use tempfile::TempDir;

use super::{damage::Small, replay, times};

const ROUNDS: u64 = 100;
/// What ten seconds of CPU time take at most on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(500);

/// A recording of the probe; none where there is no KVM.
fn recorded() -> anyhow::Result<Option<(TempDir, std::path::PathBuf)>> {
    if !harness::require_kvm() {
        return Ok(None);
    }
    let directory = TempDir::with_prefix("ftvmm-test-")?;
    let console = format!("file={}", directory.path().join("console").display());
    let cmdline = format!("rounds={ROUNDS}");
    let options =
        ["--kernel", "builtin:entries", "--cmdline", &cmdline, "--memory", "4", "--console", &console];
    let (recording, path) = record::start(directory.path(), "entries", &options)?;
    record::finish(recording)?;
    Ok(Some((directory, path)))
}

#[test]
fn interrupts_come_at_the_same_entries() -> anyhow::Result<()> {
    for time in 0..times() {
        let Some((_directory, path)) = recorded()? else { return Ok(()) };
        let steps = record::Log::read(&path)?.all_steps();
        let entries: Vec<u64> = steps.iter().filter_map(|step| step.entries).collect();
        println!(
            "{} of {} steps at kernel entries, the last at {:?}",
            entries.len(),
            steps.len(),
            entries.last()
        );
        assert!(entries.len() as u64 >= ROUNDS, "each interrupt takes an exit at an entry");
        assert!(entries.is_sorted() && entries[0] > 1, "the guest computed before the first");
        let others = steps.iter().filter(|step| step.entries.is_none());
        assert!(others.clone().any(|step| step.exit == ExitKind::Pio), "only the clock's exits have a count");
        replay(&path, if time == 0 { times() } else { 1 })?;
    }
    Ok(())
}

/// The recording with the `entries` of the last step that has some changed; nothing where there is no KVM.
fn changed(change: impl Fn(&mut StepsFrame, usize)) -> anyhow::Result<Option<(Small, Vec<u8>)>> {
    let Some((directory, path)) = recorded()? else { return Ok(None) };
    let small = Small::of(directory, path)?;
    for frame in small.log.of_kind(FrameKind::Steps).into_iter().rev() {
        let mut steps = small.log.steps(frame);
        if let Some(at) = steps.steps.iter().rposition(|step| step.entries.is_some()) {
            change(&mut steps, at);
            let bytes = small.log.with_steps(frame, &steps).bytes();
            return Ok(Some((small, bytes)));
        }
    }
    panic!("the log has kernel entries")
}

#[test]
fn another_count_is_a_divergence() -> anyhow::Result<()> {
    for off_by in [-1, 1, 1000] {
        let change = |steps: &mut StepsFrame, at: usize| {
            let entries = steps.steps[at].entries.as_mut().expect("it has a count");
            *entries = entries.wrapping_add_signed(off_by);
        };
        let Some((small, bytes)) = changed(change)? else { return Ok(()) };
        let error = small.refused(&bytes, "another count of entries")?;
        assert!(error.contains("divergence at sync point"), "{off_by}: {error}");
    }
    Ok(())
}

/// Without the count the replayed guest computes for ever. The replayer does not.
#[test]
fn a_count_that_is_never_reached_is_found_out() -> anyhow::Result<()> {
    let change = |steps: &mut StepsFrame, at: usize| steps.steps[at].entries = Some(u64::MAX);
    let Some((small, bytes)) = changed(change)? else { return Ok(()) };
    let start = Instant::now();
    let error = small.refused(&bytes, "a count of entries that is never reached")?;
    assert!(error.contains("divergence before"), "{error}");
    assert!(error.contains(&format!("at kernel entry {}", u64::MAX)), "{error}");
    assert!(start.elapsed() < PATIENCE, "it took {:?}", start.elapsed());
    Ok(())
}
