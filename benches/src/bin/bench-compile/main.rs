//! A Linux guest that compiles files of the Linux kernel: unprotected, recorded, and protected; and idle. Prints one
//! table.
//!
//! The modes take turns within each round, and ratios are of one round, so that whoever else uses the machine bothers
//! all modes alike; what is printed are medians over the rounds.

mod memory;
mod plan;
mod program;
mod report;
mod round;
mod window;

use std::process::ExitCode;

use anyhow::{bail, ensure};
use clap::Parser;
use ftvmm_benches::{
    end,
    host::Description,
    linux::{LabHosts, Mode, Place, ThisHost},
    neighbour,
};
use ftvmm_tests::lab::artefacts;

use plan::Plan;
use program::ProgramSize;
use report::Report;
use round::Measured;

/// Benchmark a Linux guest: a compile of kernel sources unprotected, recorded and protected; an idle guest
///
/// On lab hosts, two emulated machines, unless --here is given: they are slow, and ratios are what to look at.
#[derive(Parser)]
struct Arguments {
    /// Rounds; in each, every mode is measured once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Files to compile: the first N of the guest's list, which is in the order of the time that they take [default:
    /// 12 on lab hosts, all with --here]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    files: Option<u32>,
    /// Seconds for which the guest is idle
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    idle: u32,
    /// A glance: one round of 2 files and 5 idle seconds
    #[arg(long, conflicts_with_all = ["rounds", "files", "idle"])]
    quick: bool,
    /// Measure on this host instead of lab hosts; it must have hardware virtualization
    #[arg(long)]
    here: bool,
    /// Print one JSON object, with every single measurement in it
    #[arg(long)]
    json: bool,
}

/// Files for which emulated hosts have the time.
const LAB_FILES: u32 = 12;
/// Enough to read the compiler and most headers.
const WARM: u32 = 3;

impl Arguments {
    fn plan(&self) -> Plan {
        if self.quick {
            return Plan { rounds: 1, files: Some(2), warm: 1, idle: 5 };
        }
        let files = if self.here { self.files } else { self.files.or(Some(LAB_FILES)) };
        Plan {
            rounds: self.rounds,
            files,
            warm: files.map_or(WARM, |files| files.min(WARM)),
            idle: self.idle,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    end("bench-compile", measure(&arguments))
}

/// Measures round by round, and prints the report; where a round fails, that of those before it.
fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let (mut plan, here) = (arguments.plan(), arguments.here);
    let host = Description::of_this_machine();
    let program = if here { neighbour("ftvmm")? } else { artefacts::program()? };
    let program = ProgramSize::of(&program)?;
    let place: Box<dyn Place> = if here {
        if host.is_pvm() {
            bail!(
                "the KVM of this host (kvm_pvm) cannot run Linux guests; leave --here out to use lab hosts"
            );
        }
        Box::new(ThisHost::new()?)
    } else {
        eprintln!("starting two lab hosts");
        Box::new(LabHosts::start()?)
    };
    let (mut measured, mut outcome) = (Vec::new(), Ok(()));
    for round in 0..plan.rounds {
        match measure_round(place.as_ref(), plan, round) {
            Ok(of_round) => measured.extend(of_round),
            Err(error) if round == 0 => return Err(error),
            Err(error) => {
                outcome = Err(error.context(format!("round {} of {}", round + 1, plan.rounds)));
                plan.rounds = round;
                break;
            }
        }
    }
    let first = &measured[0].objects;
    ensure!(measured.iter().all(|it| it.objects == *first), "the same compile gave different objects");
    let report = Report::new(plan, host, place.describe(), program, measured);
    if arguments.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text());
    }
    outcome
}

/// Every mode once.
fn measure_round(place: &dyn Place, plan: Plan, round: u32) -> anyhow::Result<Vec<Measured>> {
    let one = |mode: Mode| {
        eprintln!("round {} of {}: {}", round + 1, plan.rounds, mode.name());
        let measured = round::run(place, plan, round, mode)?;
        eprintln!("    {:.1} s by the guest's clock", measured.compile.seconds);
        Ok(measured)
    };
    Mode::ALL.into_iter().map(one).collect()
}
