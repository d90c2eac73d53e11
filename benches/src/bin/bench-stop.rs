//! How long a guest stands when it is seeded under load: a pair whose guest serves redis-benchmark, and whose secondary is
//! seeded again and again. Prints one table, of the parts that `status` tells of each stop.

use std::{
    fs::{self, File},
    io::{Read, copy},
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::Parser;
use ftvmm::{
    control::{Request, SeedReport, State, Status},
    demo::{
        net::GUEST,
        pair::{Member, Place, Setup},
        process::Process,
    },
};
use ftvmm_benches::{end, host::Description, in_memory, neighbour, numbers::quantile, table::Table};
use serde_json::json;

const LIVE_TAP: &str = "tap-a";
const SHADOW_TAP: &str = "tap-b";
const PATIENCE: Duration = Duration::from_secs(60);
/// What the guest needs beside its RAM disk, MiB.
const BESIDE: u32 = 64;

/// Benchmark how long a guest stands for a seed, in parts, while it serves redis-benchmark
#[derive(Parser)]
struct Arguments {
    /// Seeds
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    seeds: u32,
    /// Give the guest a RAM disk of so many MiB of random bytes, all of which is seeded
    #[arg(long, value_name = "MIB", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=2048))]
    mib: u32,
    /// No load
    #[arg(long)]
    idle: bool,
    /// A glance: 10 seeds
    #[arg(long, conflicts_with = "seeds")]
    quick: bool,
    /// Print one JSON object, with every seed in it
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let host = Description::of_this_machine();
    let measured = in_memory("bench-stop", &[LIVE_TAP, SHADOW_TAP], |directory| run(&arguments, directory));
    let shown = measured.map(|seeds| match arguments.json {
        true => println!("{}", json!({ "host": host, "seeds": seeds })),
        false => print!("{}\n\n{}", host.lines().join("\n"), text(&seeds)),
    });
    end("bench-stop", shown)
}

fn run(arguments: &Arguments, directory: &Path) -> anyhow::Result<Vec<SeedReport>> {
    let arbiter = directory.join("arbiter");
    fs::create_dir(&arbiter)?;
    let setup = Setup {
        program: neighbour("ftvmm")?,
        kernel: "builtin:kv".to_owned(),
        directory: directory.to_owned(),
        arbiter,
        failure_timeout_ms: 1_000,
        primary_options: memory(arguments.mib, directory)?,
        secondary_options: Vec::new(),
    };
    let (_secondary, address) = setup.secondary("secondary", Place::here(SHADOW_TAP))?;
    let mut primary = setup.primary("primary", Place::here(LIVE_TAP), &address)?;
    primary.wait_protected()?;
    let mut load = if arguments.idle { None } else { Some(load(directory)?) };
    let count = if arguments.quick { 10 } else { arguments.seeds };
    let seeds = (0..count).map(|_| {
        load.iter_mut().try_for_each(Process::expect_alive)?;
        seed_again(&mut primary)
    });
    seeds.collect()
}

/// As options of the primary.
fn memory(mib: u32, directory: &Path) -> anyhow::Result<Vec<String>> {
    let mut options = vec!["--memory".to_owned(), (BESIDE + mib).to_string()];
    if mib > 0 {
        let path = directory.join("garbage");
        copy(&mut File::open("/dev/urandom")?.take(u64::from(mib) << 20), &mut File::create(&path)?)?;
        options.extend(["--initrd".to_owned(), path.display().to_string()]);
    }
    Ok(options)
}

/// For as long as this runs.
fn load(directory: &Path) -> anyhow::Result<Process> {
    let mut command = Command::new("redis-benchmark");
    command.args(["-h", &GUEST.ip().to_string(), "-p", &GUEST.port().to_string(), "-q", "-l"]);
    command.args(["-t", "set,get,incr", "-c", "50", "-n", "100000", "-r", "1000"]);
    Process::start(command, "redis-benchmark", directory, None)
        .context("is the package redis-tools installed?")
}

fn seed_again(primary: &mut Member) -> anyhow::Result<SeedReport> {
    primary.ask(&Request::TestRestartSecondary)?;
    let is_protected = |status: &Status| status.state == State::Protected;
    primary.wait_status("let go of its secondary", PATIENCE, |status| !is_protected(status))?;
    let status = primary.wait_status("protected", PATIENCE, is_protected)?;
    let seed = status.seed.context("it does not tell of the seed")?;
    ensure!(seed.stop.total_ms > 0.0, "{seed:?}");
    Ok(seed)
}

fn text(seeds: &[SeedReport]) -> String {
    let mut table = Table::new(&["", "p50", "p99", "most"]);
    let mut row = |label: &str, of: &dyn Fn(&SeedReport) -> f64| {
        let values = || seeds.iter().map(of);
        table.row(label, [0.5, 0.99, 1.0].map(|share| format!("{:.2}", quantile(values(), share))));
    };
    row("the guest stood, ms", &|seed| seed.stop.total_ms);
    row("  for its disks", &|seed| seed.stop.disks_ms);
    row("  for their last blocks", &|seed| seed.stop.blocks_ms);
    row("  for the last pages", &|seed| seed.stop.pages_ms);
    row("  for vCPU and devices", &|seed| seed.stop.state_ms);
    row("pages sent at it", &|seed| seed.stop.pages as f64);
    row("asked until it stood, ms", &|seed| seed.stop.asked_ms);
    row("what it said then was held, ms", &|seed| seed.held_ms);
    row("rounds", &|seed| f64::from(seed.rounds));
    row("MiB sent in them", &|seed| seed.sent_bytes as f64 / f64::from(1 << 20));
    row("from the first page to protected, ms", &|seed| seed.total_ms);
    row("unprotected, ms", &|seed| seed.unprotected_ms.unwrap_or_default());
    format!("{} seeds\n{}", seeds.len(), table.text())
}
