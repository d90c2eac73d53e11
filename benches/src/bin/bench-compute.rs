//! What it costs to stop a guest that computes: one that writes all over some memory and is interrupted again and again,
//! alone, recorded, and in a pair. Prints one table.

use std::{fs, path::Path, process::Command, process::ExitCode, time::Duration};

use anyhow::{Context, ensure};
use clap::Parser;
use ftvmm::{
    control::{DeltaReport, State},
    demo::{
        pair::{Place, Setup},
        process::Process,
    },
};
use ftvmm_benches::{end, host::Description, in_memory, neighbour, table::Table};
use serde::Serialize;
use serde_json::json;

const LIVE_TAP: &str = "tap-a";
const SHADOW_TAP: &str = "tap-b";
const PATIENCE: Duration = Duration::from_secs(300);

/// Benchmark what it costs to stop a guest that computes
#[derive(Parser)]
struct Arguments {
    /// Interrupts of each run
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// Pages that the guest writes all over: a row for each
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [16, 128, 1024, 4096])]
    pages: Vec<u32>,
    /// See ftvmm primary
    #[arg(long, value_name = "MS", default_value_t = 10)]
    patience: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Of one size of memory. Speeds are in words a µs.
#[derive(Serialize)]
struct Row {
    pages: u32,
    run: f64,
    record: f64,
    pair: f64,
    deltas: DeltaReport,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let host = Description::of_this_machine();
    let measured =
        in_memory("bench-compute", &[LIVE_TAP, SHADOW_TAP], |directory| measure(&arguments, directory));
    let shown = measured.map(|rows| match arguments.json {
        true => println!("{}", json!({ "host": host, "rows": rows })),
        false => print!("{}\n\n{}", host.lines().join("\n"), text(&rows)),
    });
    end("bench-compute", shown)
}

fn measure(arguments: &Arguments, directory: &Path) -> anyhow::Result<Vec<Row>> {
    arguments.pages.iter().map(|pages| row(arguments, *pages, directory)).collect()
}

fn row(arguments: &Arguments, pages: u32, directory: &Path) -> anyhow::Result<Row> {
    let run = alone(arguments, pages, directory, &["run"])?;
    let log = directory.join("log").display().to_string();
    let record = alone(arguments, pages, directory, &["record", "--force", "--log", &log])?;
    fs::remove_file(log)?;
    let (pair, deltas) = protected(arguments, pages, directory)?;
    Ok(Row { pages, run, record, pair, deltas })
}

/// What the guest is told, and the rest that all ways to run it have in common.
fn options(arguments: &Arguments, pages: u32) -> Vec<String> {
    let Arguments { rounds, patience, .. } = arguments;
    let (cmdline, memory) = (format!("rounds={rounds} pages={pages}"), (16 + pages / 128).to_string());
    let words = ["--cmdline", &cmdline, "--memory", &memory, "--patience", &patience.to_string()];
    words.map(str::to_owned).to_vec()
}

fn alone(arguments: &Arguments, pages: u32, directory: &Path, mode: &[&str]) -> anyhow::Result<f64> {
    let console = directory.join("console");
    let mut command = Command::new(neighbour("ftvmm")?);
    command.args(mode).args(["--kernel", "builtin:spins"]).args(options(arguments, pages));
    command.arg("--console").arg(format!("file={}", console.display()));
    let mut process = Process::start(command, mode[0], directory, None)?;
    let ended = process.wait_end(PATIENCE)?;
    ensure!(ended.success(), "{ended}: {}", process.log());
    speed(&console)
}

fn protected(arguments: &Arguments, pages: u32, directory: &Path) -> anyhow::Result<(f64, DeltaReport)> {
    let (arbiter, console) = (directory.join(format!("arbiter-{pages}")), directory.join("primary.console"));
    fs::create_dir(&arbiter)?;
    let setup = Setup {
        program: neighbour("ftvmm")?,
        kernel: "builtin:spins".to_owned(),
        directory: directory.to_owned(),
        arbiter,
        failure_timeout_ms: 1_000,
        primary_options: options(arguments, pages),
        secondary_options: Vec::new(),
    };
    let (_secondary, address) = setup.secondary("secondary", Place::here(SHADOW_TAP))?;
    let mut primary = setup.primary("primary", Place::here(LIVE_TAP), &address)?;
    let mut deltas = DeltaReport::default();
    // The last that it tells before it ends.
    while primary.process.ended()?.is_none() {
        if let Ok(status) = primary.status()
            && status.state == State::Protected
        {
            deltas = status.deltas;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    ensure!(deltas.count > 0, "it was never stopped: {}", primary.process.log());
    Ok((speed(&console)?, deltas))
}

/// What the guest says of itself last; the file is removed.
fn speed(console: &Path) -> anyhow::Result<f64> {
    let said = fs::read_to_string(console)?;
    fs::remove_file(console)?;
    let numbers = said.rsplit_once(", ").and_then(|(_, last)| {
        let (words, rest) = last.split_once(" words in ")?;
        Some((words.parse::<f64>().ok()?, rest.split(' ').next()?.parse::<f64>().ok()?))
    });
    let (words, took_us) = numbers.with_context(|| format!("the guest says {said:?}"))?;
    Ok(words / took_us)
}

fn text(rows: &[Row]) -> String {
    let headings =
        ["", "run, words/µs", "record", "pair", "stop, ms", "p99", "waited, ms", "p99", "pages", "KiB"];
    let mut table = Table::new(&headings);
    for Row { pages, run, record, pair, deltas } in rows {
        let each = |sum: u64| sum as f64 / deltas.count.max(1) as f64;
        let cells = [
            format!("{run:.1}"),
            format!("{:.2}", record / run),
            format!("{:.2}", pair / run),
            format!("{:.2}", deltas.stop_p50_ms),
            format!("{:.2}", deltas.stop_p99_ms),
            format!("{:.2}", deltas.waited_p50_ms),
            format!("{:.2}", deltas.waited_p99_ms),
            format!("{:.0}", each(deltas.pages)),
            format!("{:.0}", each(deltas.bytes) / 1024.0),
        ];
        table.row(&format!("{pages} pages"), cells);
    }
    table.text()
}
