//! A Linux guest on its way to another host while it runs: ftvmm seeds a secondary, QEMU migrates. Prints one table.
//!
//! The monitors take turns within each round, and ratios are of one round, so that whoever else uses the machine bothers
//! both alike.

mod guest;
mod kind;
mod load;
mod migration;
mod monitor;
mod place;
mod qmp;
mod report;
mod round;
mod seeding;

use std::process::ExitCode;

use clap::Parser;
use ftvmm_benches::{end, host::Description};

use kind::Kind;
use place::Place;
use report::{Plan, Report};

/// Benchmark how a running Linux guest comes to another host: ftvmm's seed of a secondary beside QEMU's live migration
///
/// On lab hosts, two emulated machines: they are slow, and ratios are what to look at.
#[derive(Parser)]
struct Arguments {
    /// Rounds; in each, both monitors are measured
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How often each guest is sent under each load
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    passages: u32,
    /// A glance: one round, one passage under each load
    #[arg(long, conflicts_with_all = ["rounds", "passages"])]
    quick: bool,
    /// Print one JSON object, with every single measurement in it
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    end("bench-migrate", measure(&arguments))
}

/// Measures round by round, and prints the report; where a round fails, that of those before it.
fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let &Arguments { rounds, passages, quick, json } = arguments;
    let mut plan = if quick { Plan { rounds: 1, passages: 1 } } else { Plan { rounds, passages } };
    let host = Description::of_this_machine();
    eprintln!("starting two lab hosts");
    let place = Place::start()?;
    let (mut measured, mut outcome) = (Vec::new(), Ok(()));
    for round in 0..plan.rounds {
        match measure_round(&place, plan, round) {
            Ok(of_round) => measured.extend(of_round),
            Err(error) if round == 0 => return Err(error),
            Err(error) => {
                outcome = Err(error.context(format!("round {} of {}", round + 1, plan.rounds)));
                plan.rounds = round;
                break;
            }
        }
    }
    let report = Report::new(plan, host, measured);
    match json {
        true => println!("{}", report.json()),
        false => print!("{}", report.text()),
    }
    outcome
}

/// Both monitors once.
fn measure_round(place: &Place, plan: Plan, round: u32) -> anyhow::Result<Vec<round::Measured>> {
    let mut measured = Vec::new();
    for monitor in Kind::ALL {
        eprintln!("round {} of {}: {}", round + 1, plan.rounds, monitor.name());
        measured.extend(round::run(place, round, monitor, plan.passages)?);
    }
    Ok(measured)
}
