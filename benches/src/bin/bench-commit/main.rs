//! The path of an output, stage by stage: from the guest's exit to the TAP device of a protected VM whose one client
//! counts with INCR, and what the single parts of that path cost within one process. Prints one table.
//!
//! Beside it, in the same rounds: the round trip of two processes that do nothing but block on a loopback connection,
//! below which no acknowledged output can be.

mod floor;
mod pair;
mod parts;
mod path;
mod report;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Parser;
use ftvmm::demo::net;
use ftvmm_benches::{end, host::Description, neighbour, other_build, require_network};

use pair::{Candidate, LIVE_TAP, SHADOW_TAP};
use report::{Report, Round};

/// Benchmark the path of an output: what each stage from the guest's exit to the TAP device takes
#[derive(Parser)]
struct Arguments {
    /// Rounds; in each, every program is measured once
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Requests in a round, one after the other
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(100..=20_000))]
    requests: u32,
    /// Another build of ftvmm, measured in turn with this one
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
    /// Start this program's sides with --busy-poll US; unless it is measured against another, against itself without
    #[arg(long, value_name = "US")]
    busy_poll: Option<u32>,
    /// A glance: 2 rounds of 1000 requests
    #[arg(long, conflicts_with_all = ["rounds", "requests"])]
    quick: bool,
    /// Print one JSON object, with the figures of every round in it
    #[arg(long)]
    json: bool,
    /// Answer whoever connects there, and do nothing else: the other process of the round trip
    #[arg(long, hide = true, value_name = "ADDRESS")]
    echo: Option<SocketAddr>,
}

impl Arguments {
    fn candidates(&self) -> anyhow::Result<Vec<Candidate>> {
        let program = neighbour("ftvmm")?;
        let options = self.busy_poll.map(|us| vec!["--busy-poll".to_owned(), us.to_string()]);
        let other = match &self.against {
            Some(other) => Some(other_build(other)?),
            None => options.is_some().then(|| program.clone()),
        };
        let mut candidates = vec![Candidate { program, options: options.unwrap_or_default() }];
        candidates.extend(other.map(|program| Candidate { program, options: Vec::new() }));
        Ok(candidates)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.echo {
        Some(address) => floor::echo(address),
        None => measure(&arguments).map(|report| match arguments.json {
            true => println!("{}", report.json()),
            false => print!("{}", report.text()),
        }),
    };
    end("bench-commit", done)
}

/// Measures on a network of its own; the calling thread stays in it.
fn measure(arguments: &Arguments) -> anyhow::Result<Report> {
    require_network()?;
    let (rounds, requests) =
        if arguments.quick { (2, 1_000) } else { (arguments.rounds, arguments.requests) };
    let programs = arguments.candidates()?;
    let host = Description::of_this_machine();
    let parts = parts::measure()?;
    net::enter(&[LIVE_TAP, SHADOW_TAP])?;
    let mut measured = Vec::new();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        let floor = floor::measure()?;
        let mut pairs = Vec::new();
        for program in &programs {
            let pair = pair::measure(program, requests);
            pairs.push(pair.with_context(|| format!("with {}", program.program.display()))?);
        }
        measured.push(Round { floor, pairs });
    }
    Ok(Report::new(host, programs, requests, parts, measured))
}
