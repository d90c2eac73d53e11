//! Steps and events that are missing or other than recorded, in a log whose checksums and sequence are right.

use ftlog::{Event, ExitKind, FrameKind, Step, StepsFrame};
use ftvmm_tests::harness;
use tempfile::TempDir;

use super::{console, damage::Small};

/// A recording of the echo guest, with its one frame of steps.
struct Echo {
    small: Small,
    frame: usize,
    steps: StepsFrame,
}

impl Echo {
    fn record() -> anyhow::Result<Option<Self>> {
        if !harness::require_kvm() {
            return Ok(None);
        }
        let directory = TempDir::with_prefix("ftvmm-test-")?;
        let path = console::record(directory.path())?;
        let small = Small::of(directory, path)?;
        let frames = small.log.of_kind(FrameKind::Steps);
        let steps = small.log.steps(frames[0]);
        assert_eq!(frames.len(), 1, "a short recording has one frame of steps");
        Ok(Some(Self { small, frame: frames[0], steps }))
    }

    /// The steps that carry events.
    fn eventful(&self) -> Vec<usize> {
        (0..self.steps.steps.len()).filter(|index| !self.steps.steps[*index].events.is_empty()).collect()
    }

    /// The log with one step changed.
    fn with_step(&self, index: usize, change: impl FnOnce(&mut Step)) -> Vec<u8> {
        let mut steps = self.steps.clone();
        change(&mut steps.steps[index]);
        self.small.log.with_steps(self.frame, &steps).bytes()
    }
}

fn typed(step: &mut Step) -> &mut Vec<u8> {
    match &mut step.events[0] {
        Event::ConsoleInput(bytes) => bytes,
        other => panic!("the echo guest has no network: {other:?}"),
    }
}

#[test]
fn a_missing_event_is_found() -> anyhow::Result<()> {
    let Some(echo) = Echo::record()? else { return Ok(()) };
    for index in echo.eventful() {
        echo.small.refused(&echo.with_step(index, |step| step.events.clear()), "without an event")?;
    }
    let first = echo.eventful()[0];
    echo.small.refused_by_program(&echo.with_step(first, |step| step.events.clear()), "without an event")
}

#[test]
fn a_repeated_event_is_found() -> anyhow::Result<()> {
    let Some(echo) = Echo::record()? else { return Ok(()) };
    for index in echo.eventful() {
        let repeat = |step: &mut Step| step.events.push(step.events[0].clone());
        echo.small.refused(&echo.with_step(index, repeat), "an event twice")?;
    }
    Ok(())
}

#[test]
fn swapped_events_are_found() -> anyhow::Result<()> {
    let Some(echo) = Echo::record()? else { return Ok(()) };
    for pair in echo.eventful().windows(2) {
        let mut swapped = echo.steps.clone();
        let first = std::mem::take(&mut swapped.steps[pair[0]].events);
        swapped.steps[pair[0]].events = std::mem::replace(&mut swapped.steps[pair[1]].events, first);
        let bytes = echo.small.log.with_steps(echo.frame, &swapped).bytes();
        echo.small.refused(&bytes, "two events swapped")?;
    }
    Ok(())
}

#[test]
fn an_event_that_comes_late_is_found_although_the_guest_could_not_tell() -> anyhow::Result<()> {
    let Some(echo) = Echo::record()? else { return Ok(()) };
    for index in echo.eventful() {
        let mut late = echo.steps.clone();
        let events = std::mem::take(&mut late.steps[index].events);
        let Some(next) = late.steps.get_mut(index + 1) else { continue };
        next.events.splice(0..0, events);
        echo.small
            .refused(&echo.small.log.with_steps(echo.frame, &late).bytes(), "an event one step later")?;
    }
    Ok(())
}

#[test]
fn another_time_is_found_although_the_guest_never_asks() -> anyhow::Result<()> {
    let Some(echo) = Echo::record()? else { return Ok(()) };
    for index in 0..echo.steps.steps.len() {
        echo.small.refused(&echo.with_step(index, |step| step.time_ns += 1), "another time")?;
    }
    Ok(())
}

#[test]
fn every_changed_byte_of_an_event_is_found() -> anyhow::Result<()> {
    let Some(echo) = Echo::record()? else { return Ok(()) };
    for index in echo.eventful() {
        for at in 0..echo.steps.steps[index].events[0].payload().len() {
            let bytes = echo.with_step(index, |step| typed(step)[at] ^= 1);
            let error = echo.small.refused(&bytes, "another byte typed")?;
            assert!(error.contains("divergence at"), "{error}");
        }
        let bytes = echo.with_step(index, |step| _ = typed(step).pop());
        echo.small.refused(&bytes, "a byte less typed")?;
    }
    Ok(())
}

#[test]
fn a_missing_or_repeated_step_is_found_wherever_it_is() -> anyhow::Result<()> {
    let Some(echo) = Echo::record()? else { return Ok(()) };
    for index in (0..echo.steps.steps.len()).step_by(3) {
        let mut fewer = echo.steps.clone();
        fewer.steps.remove(index);
        echo.small.refused(&echo.small.log.with_steps(echo.frame, &fewer).bytes(), "a step less")?;
        let mut more = echo.steps.clone();
        more.steps.insert(index, more.steps[index].clone());
        echo.small.refused(&echo.small.log.with_steps(echo.frame, &more).bytes(), "a step twice")?;
    }
    Ok(())
}

#[test]
fn another_digest_kind_or_order_of_steps_is_found_at_its_position() -> anyhow::Result<()> {
    let Some(echo) = Echo::record()? else { return Ok(()) };
    for index in (0..echo.steps.steps.len()).step_by(5) {
        let at = format!("divergence at sync point #{}:", echo.steps.first.0 + index as u64);
        let bytes = echo.with_step(index, |step| step.digest ^= 1 << 31);
        let error = echo.small.refused(&bytes, "another digest")?;
        assert!(error.contains(&at), "{error}");
        let bytes = echo.with_step(index, |step| step.exit = ExitKind::Msr);
        let error = echo.small.refused(&bytes, "another exit")?;
        assert!(error.contains(&at) && error.contains("a Msr exit"), "{error}");
    }
    let mut steps = echo.steps.clone();
    steps.first = steps.first.next();
    let error = echo.small.refused(&echo.small.log.with_steps(echo.frame, &steps).bytes(), "a gap")?;
    assert!(error.contains("the log has #2 where #1 is next"), "{error}");
    let bytes = echo.with_step(7, |step| step.time_ns = 0);
    let error = echo.small.refused(&bytes, "time that goes back")?;
    assert!(error.contains("at #8 the log's time goes back"), "{error}");
    Ok(())
}
