//! The key-value guest under redis-benchmark: unprotected, recorded, protected by a peer that does not execute, and
//! protected for real; then kills of the primary. Prints one table.
//!
//! The modes take turns within each round, and ratios are of one round, so that whoever else uses the machine bothers
//! all modes alike; what is printed are medians over the rounds.

mod load;
mod modes;
mod plan;
mod replayed;
mod report;
mod round;
mod takeovers;

use std::{fs, path::Path, process::ExitCode};

use clap::Parser;
use ftvmm::demo::{net, pair::Setup};
use ftvmm_benches::{end, host::Description, neighbour, require_network};

use modes::{LIVE_TAP, Mode, SHADOW_TAP};
use plan::Plan;
use report::Report;

/// Benchmark the key-value guest: throughput, latency, CPU time, log, commit delay, takeover, replay
#[derive(Parser)]
struct Arguments {
    /// Rounds; in each, every mode is measured once
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Requests of each command in a load; eight times as many in the pipelined one
    #[arg(long, value_name = "N", default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    requests: u32,
    /// Kills of the primary; 0 leaves them out
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    kills: u32,
    /// A glance: 2 rounds of 10000 requests, 3 kills
    #[arg(long, conflicts_with_all = ["rounds", "requests", "kills"])]
    quick: bool,
    /// Print one JSON object, with every single measurement in it
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn plan(&self) -> Plan {
        if self.quick {
            return Plan { rounds: 2, requests: 10_000, kills: 3 };
        }
        Plan { rounds: self.rounds, requests: self.requests, kills: self.kills }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let shown = measure(arguments.plan()).map(|report| match arguments.json {
        true => println!("{}", report.json()),
        false => print!("{}", report.text()),
    });
    end("bench-kv", shown)
}

/// Measures on a network of its own; the calling thread stays in it.
fn measure(plan: Plan) -> anyhow::Result<Report> {
    require_network()?;
    let (program, ack_peer) = (neighbour("ftvmm")?, neighbour("ack-peer")?);
    let host = Description::of_this_machine();
    let directory = tempfile::Builder::new().prefix("ftvmm-bench-").tempdir()?;
    net::enter(&[LIVE_TAP, SHADOW_TAP])?;
    let arbiter = directory.path().join("arbiter");
    fs::create_dir(&arbiter)?;
    let (kernel, path) = ("builtin:kv".to_owned(), directory.path().to_owned());
    let setup = Setup {
        program,
        kernel,
        directory: path,
        arbiter,
        failure_timeout_ms: 200,
        primary_options: Vec::new(),
        secondary_options: Vec::new(),
    };
    let report = measure_all(plan, host, &setup, &ack_peer);
    if report.is_err() {
        eprintln!("bench-kv: logs are in {}", directory.keep().display());
    }
    report
}

fn measure_all(plan: Plan, host: Description, setup: &Setup, ack_peer: &Path) -> anyhow::Result<Report> {
    let (mut measured, mut replays) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        eprintln!("round {} of {}", round + 1, plan.rounds);
        for mode in Mode::ALL {
            replays.extend(round::run(plan, setup, ack_peer, round, mode, &mut measured)?);
        }
    }
    if plan.kills > 0 {
        eprintln!("{} kills", plan.kills);
    }
    let takeovers = takeovers::measure(setup, plan.kills)?;
    Ok(Report::new(plan, host, measured, replays, takeovers))
}
