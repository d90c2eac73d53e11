//! The whole: a primary and a secondary with a client, and their marks.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use ftvmm::{
    demo::{
        client::{Connection, Reply},
        net::GUEST,
        pair::{Member, Place, START_TIMEOUT, Setup},
        wait,
    },
    host::clock::monotonic_ns,
};
use ftvmm_benches::spread::Spread;
use ftvmm_tests::cpu;
use replay::trace::{self, Mark, Stage};
use serde::Serialize;

use crate::path::{self, STEPS};

/// The TAP device of the side that is live.
pub const LIVE_TAP: &str = "tap-a";
/// That of its secondary.
pub const SHADOW_TAP: &str = "tap-b";
/// Requests before those that count.
const WARM_UP: u32 = 500;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Files here are memory: writing them back is nobody's business while it is measured.
const MEMORY: &str = "/dev/shm";

/// What is measured: a build of ftvmm, and with which options both sides are started.
#[derive(Clone, Debug, Serialize)]
pub struct Candidate {
    /// The program.
    pub program: PathBuf,
    /// The options.
    pub options: Vec<String>,
}

/// One program's pair in one round.
#[derive(Debug, Serialize)]
pub struct Pair {
    /// Outputs that were followed.
    pub outputs: usize,
    /// What each stage took them, in the order of the path, µs.
    pub stages: Vec<Spread>,
    /// From the guest's exit to the TAP device, µs.
    pub total: Spread,
    /// What the client waited for its answers, µs.
    pub answer: Spread,
    /// How often something happened, per request.
    pub per_request: PerRequest,
}

/// What a request costs.
#[derive(Debug, Serialize)]
pub struct PerRequest {
    /// VM exits that are sync points.
    pub sync_points: f64,
    /// Batches that were handed over, each a frame.
    pub batches: f64,
    /// Acknowledgements.
    pub acknowledgements: f64,
    /// Times that the primary's link thread was woken.
    pub primary_wakes: f64,
    /// Times that the secondary's was.
    pub secondary_wakes: f64,
    /// CPU time of the primary, µs.
    pub primary_cpu_us: f64,
    /// CPU time of the secondary, µs.
    pub secondary_cpu_us: f64,
}

/// Runs a pair of it, with a client that counts up to `requests` one by one.
pub fn measure(candidate: &Candidate, requests: u32) -> anyhow::Result<Pair> {
    let directory = tempfile::Builder::new().prefix("ftvmm-bench-").tempdir_in(MEMORY)?;
    let measured = run(candidate, directory.path(), requests);
    if measured.is_err() {
        eprintln!("bench-commit: logs are in {}", directory.keep().display());
    }
    measured
}

fn run(candidate: &Candidate, directory: &Path, requests: u32) -> anyhow::Result<Pair> {
    let arbiter = directory.join("arbiter");
    fs::create_dir(&arbiter)?;
    let setup = Setup {
        program: traced(&candidate.program, directory)?,
        kernel: "builtin:kv".to_owned(),
        directory: directory.to_owned(),
        arbiter,
        failure_timeout_ms: 1_000,
        primary_options: candidate.options.clone(),
        secondary_options: candidate.options.clone(),
    };
    let (secondary, address) = setup.secondary("secondary", Place::here(SHADOW_TAP))?;
    let mut primary = setup.primary("primary", Place::here(LIVE_TAP), &address)?;
    primary.wait_protected()?;
    let mut client = connect()?;
    for count in 1..=WARM_UP {
        incr(&mut client, count)?;
    }
    let before = [cpu_us(&primary)?, cpu_us(&secondary)?];
    let from_ns = monotonic_ns();
    let (mut answered_ns, mut waits) = (Vec::new(), Vec::new());
    for count in WARM_UP + 1..=WARM_UP + requests {
        let asked_ns = monotonic_ns();
        incr(&mut client, count)?;
        answered_ns.push(monotonic_ns());
        waits.push(answered_ns[answered_ns.len() - 1] - asked_ns);
    }
    let to_ns = monotonic_ns();
    let after = [cpu_us(&primary)?, cpu_us(&secondary)?];
    let marks = [marks(directory, &primary)?, marks(directory, &secondary)?];
    let joined = path::join(&marks[0], &marks[1], [from_ns, to_ns], &answered_ns);
    let least = requests as usize / 2;
    ensure!(
        joined.len() >= least,
        "{} outputs were followed, of {requests} answers; does it make marks?",
        joined.len()
    );
    let each = |count: f64| count / f64::from(requests);
    let counted = |side: usize, stage| each(path::count(&marks[side], stage, from_ns, to_ns) as f64);
    Ok(Pair {
        outputs: joined.len(),
        stages: (0..STEPS).map(|stage| Spread::of(joined.iter().map(|steps| steps[stage]))).collect(),
        total: Spread::of(joined.iter().map(|steps| steps.iter().sum())),
        answer: Spread::of(waits.into_iter()),
        per_request: PerRequest {
            sync_points: counted(0, Stage::Exited),
            batches: counted(0, Stage::Closed),
            acknowledgements: counted(1, Stage::Acknowledged),
            primary_wakes: counted(0, Stage::PrimaryWoken),
            secondary_wakes: counted(1, Stage::SecondaryWoken),
            primary_cpu_us: each(after[0] - before[0]),
            secondary_cpu_us: each(after[1] - before[1]),
        },
    })
}

/// A script that starts `program` with its marks in `directory`.
fn traced(program: &Path, directory: &Path) -> anyhow::Result<PathBuf> {
    let (script, variable) = (directory.join("ftvmm"), trace::VARIABLE);
    let (program, marks) = (program.display(), directory.display());
    fs::write(&script, format!("#!/bin/sh\n{variable}='{marks}' exec '{program}' \"$@\"\n"))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

fn marks(directory: &Path, member: &Member) -> anyhow::Result<Vec<Mark>> {
    let path = directory.join(member.process.id().to_string());
    trace::read(&path).with_context(|| format!("{} has no marks", member.process.name()))
}

fn cpu_us(member: &Member) -> anyhow::Result<f64> {
    Ok(cpu::of_process(member.process.id())? * 1e6)
}

fn connect() -> anyhow::Result<Connection> {
    wait::until("the guest to answer", START_TIMEOUT, || Ok(Connection::open(GUEST.into(), ANSWER).ok()))
}

fn incr(client: &mut Connection, expected: u32) -> anyhow::Result<()> {
    match client.call(&[b"INCR", b"commits"])? {
        Reply::Integer(count) if count == i64::from(expected) => Ok(()),
        other => bail!("INCR gives {other:?}, {expected} expected"),
    }
}
