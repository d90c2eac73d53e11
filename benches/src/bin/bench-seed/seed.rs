//! One seed over one wire.

use std::{
    fs,
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use ftlog::FrameKind;
use ftvmm::{
    control::State,
    demo::pair::{Place, Setup},
};
use ftvmm_tests::way::{Heard, Way, Wire};
use serde::Serialize;

use crate::{
    bulk::{Bulk, Garbage, MEMORY},
    gaps::{Quantiles, gaps, is_bulk},
    queue::Gauge,
};

/// The TAP device of the side that is live.
pub const LIVE_TAP: &str = "tap-a";
/// That of its secondary.
pub const SHADOW_TAP: &str = "tap-b";
/// For how long a pair is listened to without a seed.
const QUIET: Duration = Duration::from_secs(2);
/// And how long it may take to be one.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one seed was like.
#[derive(Debug, Serialize)]
pub struct Seed {
    /// From its first frame to its last, as they came out of the wire, s.
    pub seconds: f64,
    /// What was in them, MiB.
    pub mib: f64,
    /// Gaps between what the primary said, during the seed and without one, ms.
    pub primary: [Quantiles; 2],
    /// Between what the secondary said.
    pub secondary: [Quantiles; 2],
    /// What the primary's kernel had taken of the seed and the wire had not, KiB.
    pub queue: Quantiles,
}

/// All that was seen of it.
struct Sight {
    heard: Vec<Heard>,
    queue: Vec<(Instant, f64)>,
}

/// Has this program seed such a VM.
pub fn measure(program: &Path, bulk: Bulk, wire: Wire, garbage: &Garbage) -> anyhow::Result<Seed> {
    let directory = tempfile::Builder::new().prefix("ftvmm-bench-").tempdir_in(MEMORY)?;
    let seed = run(program, directory.path(), bulk, wire, garbage).and_then(|sight| judge(&sight));
    if seed.is_err() {
        eprintln!("bench-seed: logs are in {}", directory.keep().display());
    }
    seed
}

fn run(program: &Path, directory: &Path, bulk: Bulk, wire: Wire, garbage: &Garbage) -> anyhow::Result<Sight> {
    let arbiter = directory.join("arbiter");
    fs::create_dir(&arbiter)?;
    let [primary_options, secondary_options] = bulk.options(garbage, wire, directory)?;
    let setup = Setup {
        program: program.to_owned(),
        kernel: "builtin:kv".to_owned(),
        directory: directory.to_owned(),
        arbiter,
        // Long, so that a busy machine is no loss; a sign of life is due every 50 ms all the same.
        failure_timeout_ms: 1_000,
        primary_options,
        secondary_options,
    };
    let (ear, heard) = mpsc::channel();
    let (_secondary, address) = setup.secondary("secondary", Place::here(SHADOW_TAP))?;
    let way = Way::open_heard(&address, wire, ear)?;
    let gauge = Gauge::start(way.address())?;
    let mut primary = setup.primary("primary", Place::here(LIVE_TAP), way.address())?;
    primary.wait_status("protected", PATIENCE, |status| status.state == State::Protected)?;
    thread::sleep(QUIET);
    Ok(Sight { heard: heard.try_iter().collect(), queue: gauge.seen() })
}

fn judge(Sight { heard, queue }: &Sight) -> anyhow::Result<Seed> {
    let find = |from: usize, kind| heard[from..].iter().position(|it| it.kind == kind).map(|at| from + at);
    let hello = heard.iter().rposition(|it| it.kind == FrameKind::Hello).context("there was no handshake")?;
    let done = find(hello, FrameKind::SeedDone).context("no seed was whole")?;
    let held = find(done, FrameKind::SeedHeld).context("the seed is not held")?;
    let bulk = || heard[hello..done].iter().filter(|it| it.there && is_bulk(it.kind));
    let begun = bulk().next().context("there was nothing in the seed")?.at;
    let (done, held, last) = (heard[done].at, heard[held].at, heard[heard.len() - 1].at);
    let times = [[begun, done], [held, last]];
    let during = queue.iter().filter(|(at, _)| (begun..done).contains(at)).map(|(_, kib)| *kib);
    Ok(Seed {
        seconds: (done - begun).as_secs_f64(),
        mib: bulk().map(|it| it.bytes as f64).sum::<f64>() / f64::from(1 << 20),
        primary: times.map(|times| gaps(heard, true, times)),
        secondary: times.map(|times| gaps(heard, false, times)),
        queue: Quantiles::of(during),
    })
}
