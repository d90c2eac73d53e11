//! What is said beside a seed: a VM with much memory, or with much on its disk, is given a secondary over wires of several
//! rates, and at the ends of the wire it is noted when every frame comes out. Prints one table.
//!
//! A side says at least every so often that it is there. What of the seed is ahead of that on its way shows in the gaps
//! between such words, as they are heard at the far end: the longest is as long as those of a pair without a seed, and as
//! what waits at the beginning of the wire takes to go through it.

mod bulk;
mod gaps;
mod queue;
mod report;
mod seed;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Parser;
use ftvmm::demo::net;
use ftvmm_benches::{end, host::Description, neighbour, other_build, require_network};
use ftvmm_tests::way::Wire;

use bulk::{Bulk, Garbage};
use report::Report;
use seed::{LIVE_TAP, SHADOW_TAP, Seed};

/// The wires, and what they are called; the last is as fast as this machine.
const WIRES: &[(&str, Wire)] = &[
    ("100 Mbit/s, 1 ms", Wire { delay: Duration::from_millis(1), bytes_per_second: 12_500_000 }),
    ("1 Gbit/s, 0.1 ms", Wire { delay: Duration::from_micros(100), bytes_per_second: 125_000_000 }),
    ("as fast as it goes", Wire { delay: Duration::ZERO, bytes_per_second: u64::MAX }),
];

/// Benchmark what is said beside a seed: how long a seed takes, and the gaps between a side's signs of life during it
#[derive(Parser)]
struct Arguments {
    /// Rounds; in each, every program is measured once over every wire
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// What is to be seeded, memory and then a disk, in MiB; less where the wire takes longer than 5 s for it
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=2048))]
    mib: u32,
    /// Another build of ftvmm, measured in turn with this one
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
    /// Over the fastest wire only: whether a seed got slower
    #[arg(long)]
    fast: bool,
    /// A glance: 1 round of 32 MiB
    #[arg(long, conflicts_with_all = ["rounds", "mib"])]
    quick: bool,
    /// Print one JSON object, with the figures of every round in it
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let shown = measure(&arguments).map(|report| match arguments.json {
        true => println!("{}", report.json()),
        false => print!("{}", report.text()),
    });
    end("bench-seed", shown)
}

/// Measures on a network of its own; the calling thread stays in it.
fn measure(arguments: &Arguments) -> anyhow::Result<Report> {
    require_network()?;
    let (rounds, mib) = if arguments.quick { (1, 32) } else { (arguments.rounds, arguments.mib) };
    let wires = &WIRES[if arguments.fast { WIRES.len() - 1 } else { 0 }..];
    let mut programs = vec![neighbour("ftvmm")?];
    if let Some(other) = &arguments.against {
        programs.push(other_build(other)?);
    }
    let host = Description::of_this_machine();
    let garbage = Garbage::new(mib)?;
    net::enter(&[LIVE_TAP, SHADOW_TAP])?;
    let mut measured = Vec::new();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        measured.push(measure_round(wires, &programs, &garbage)?);
    }
    Ok(Report::new(host, wires, programs, mib, measured))
}

/// One seed for each wire, each kind of bulk and each program, in this order.
fn measure_round(
    wires: &[(&str, Wire)],
    programs: &[PathBuf],
    garbage: &Garbage,
) -> anyhow::Result<Vec<Vec<Seed>>> {
    let mut cases = Vec::new();
    for &(name, wire) in wires {
        for bulk in Bulk::ALL {
            let one = |program: &PathBuf| {
                let seed = seed::measure(program, bulk, wire, garbage);
                seed.with_context(|| format!("{} with {bulk:?} over {name}", program.display()))
            };
            cases.push(programs.iter().map(one).collect::<Result<_, _>>()?);
        }
    }
    Ok(cases)
}
