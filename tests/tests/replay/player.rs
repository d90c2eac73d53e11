//! Replaying in this process.

use std::path::Path;

use anyhow::Context;
use ftlog::{ArrivingDelta, FrameKind, FrameReader, StateDigests, decode_steps};
use machine::{kvm::Host, snapshot::Seed};
use replay::{
    StopSwitch,
    logfile::{Player, Summary},
    replayed,
};

/// Replays and verifies a log as `ftvmm replay` does.
pub fn play(log: &Path, host: &Host) -> anyhow::Result<Summary> {
    Player::open(log, host)?.play(&mut |_| {}, &mut |_| {})
}

/// Why a log is refused.
///
/// # Panics
/// When it is accepted.
pub fn refusal(log: &Path, host: &Host, damage: &str) -> String {
    match play(log, host) {
        Ok(summary) => panic!("{damage}: accepted: {summary:?}"),
        Err(error) => format!("{error:#}"),
    }
}

/// Whether an error says where the trouble is: at a sync point, in a frame, or at the file's end.
pub fn names_a_place(error: &str) -> bool {
    let number_after = |word: &str| {
        let mut rests = error.match_indices(word).map(|(at, _)| &error[at + word.len()..]);
        rests.any(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    let all_of_it = ["the log is empty", "the log ends within its initial state"].contains(&error);
    number_after("#") || number_after("frame ") || all_of_it
}

/// The digests of the state in which a log's steps end, whatever its closing record says.
pub fn digests(log: &Path) -> anyhow::Result<StateDigests> {
    let mut reader = FrameReader::new(std::fs::File::open(log)?);
    let mut next = || reader.read()?.context("the log has no closing record");
    let mut seed = Seed::begin(&next()?)?;
    while !seed.add(&next()?)? {}
    let mut machine = seed.finish(&Host::open()?)?;
    let (stop, mut outputs) = (StopSwitch::default(), Vec::new());
    let mut arriving = ArrivingDelta::new(ArrivingDelta::most_bytes(machine.memory().mib()));
    loop {
        let frame = next()?;
        match frame.kind {
            FrameKind::End => return Ok(machine.digests()?),
            FrameKind::Pages => arriving.add_pages(frame.body)?,
            FrameKind::Delta => arriving.complete(&frame.body)?,
            _ => {
                let batch = decode_steps(&frame.body)?;
                let mut delta = arriving.take_for(&batch)?;
                for step in &batch.steps {
                    let position = machine.position().next();
                    let delta = delta.take();
                    replayed::step(&mut machine, position, step, delta.as_ref(), &mut outputs, &stop)?;
                    outputs.clear();
                }
            }
        }
    }
}
