//! What clients of a Linux guest wait for while programs in it compute: unprotected and protected, on two lab hosts.
//! Prints one table.

mod load;
mod report;
mod waits;

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use ftvmm_benches::{
    end,
    host::Description,
    linux::{Guest, LabHosts, Mode},
    ping::ANSWER_ALL,
};
use serde_json::json;

use load::Load;
use report::{Row, text};
use waits::Waits;

/// The guest's network card on a lab host.
const TAP: &str = "vm0";
/// A subshell: it is none of the jobs that end with a load.
const REDIS: &str = "(redis-server /usr/lib/ftvmm/redis.conf >/dev/null 2>&1 &)";

/// Benchmark what clients of a Linux guest wait for while programs in it compute, unprotected and protected
///
/// On two lab hosts, emulated machines: they are slow, and the comparison is what to look at.
#[derive(Parser)]
struct Arguments {
    /// Seconds for each load
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let host = Description::of_this_machine();
    let shown = measure(&arguments).map(|rows| match arguments.json {
        true => println!("{}", json!({ "host": host, "seconds": arguments.seconds, "rows": rows })),
        false => print!("{}\n\n{}", host.lines().join("\n"), text(&rows)),
    });
    end("bench-busy", shown)
}

fn measure(arguments: &Arguments) -> anyhow::Result<Vec<Row>> {
    eprintln!("starting two lab hosts");
    let place = LabHosts::start()?;
    let mut rows = Vec::new();
    for mode in [Mode::Run, Mode::Protected] {
        rows.extend(of_mode(&place, mode, Duration::from_secs(arguments.seconds.into()))?);
    }
    Ok(rows)
}

fn of_mode(place: &LabHosts, mode: Mode, length: Duration) -> anyhow::Result<Vec<Row>> {
    eprintln!("{}: the guest boots", mode.name());
    let mut guest = Guest::start(place, mode, Some(TAP))?;
    guest.await_shell()?;
    guest.command(ANSWER_ALL)?;
    guest.command(REDIS)?;
    let mut rows = Vec::new();
    for load in Load::ALL {
        // A seed begins the count of deltas.
        if mode == Mode::Protected {
            guest.restart_secondary()?;
        }
        eprintln!("{}: {}", mode.name(), load.name());
        guest.command(&load.begin())?;
        let waits = Waits::over(length)?;
        let deltas = guest.status()?.deltas;
        guest.command(load.end())?;
        rows.push(Row { mode, load, waits, deltas });
    }
    guest.command("redis-cli shutdown >/dev/null")?;
    guest.shut_down()?;
    Ok(rows)
}
