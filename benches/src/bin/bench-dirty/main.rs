//! How to learn which pages a guest has written: KVM's bitmap, whose bits are cleared by hand, beside its ring. And what
//! becomes of huge pages. Prints one table.

mod account;
mod epochs;
mod guest;
mod huge;
mod ring;
mod way;

use std::{env, process::ExitCode, time::Duration};

use anyhow::{Context, ensure};
use clap::Parser;
use ftvmm_benches::{end, host::Description, table::Table};
use ftvmm_tests::lab::{Lab, Plan, artefacts};

use epochs::Epochs;
use way::Way;

/// How long it may take on a lab host, which is slow.
const LAB_PATIENCE: Duration = Duration::from_secs(1800);
/// Pages that the guest writes in an epoch.
const PAGES: [u64; 4] = [16, 128, 1024, 4096];

/// Benchmark how to learn which pages a guest has written: KVM's bitmap beside its ring
#[derive(Parser)]
struct Arguments {
    /// Epochs of each kind
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    epochs: u32,
    /// Memory of the guest, MiB
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(64..=1024))]
    mib: u64,
    /// On a lab host: an emulated machine with an ordinary kvm_amd
    #[arg(long)]
    lab: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let measured = if arguments.lab { in_lab(&arguments) } else { measure(&arguments) };
    end("bench-dirty", measured.map(|text| print!("{text}")))
}

/// Has this program measure there.
fn in_lab(arguments: &Arguments) -> anyhow::Result<String> {
    let missing = artefacts::missing();
    ensure!(missing.is_empty(), "lab hosts lack:\n  - {}", missing.join("\n  - "));
    let this = env::current_exe().context("cannot tell which program this is")?;
    let lab = Lab::start(&Plan { files: vec![("bench-dirty".to_owned(), this)], ..Plan::new()? })?;
    let Arguments { epochs, mib, .. } = arguments;
    let command = format!(
        "mount -t debugfs none /sys/kernel/debug && /files/bench-dirty --epochs {epochs} --mib {mib}"
    );
    let output = lab.a.run_within(LAB_PATIENCE, &command)?;
    ensure!(output.status == 0, "on the lab host: {}", output.stderr);
    Ok(output.stdout)
}

fn measure(arguments: &Arguments) -> anyhow::Result<String> {
    let headings = ["medians", "untracked, µs", "tracked, µs", "learnt, µs", "a page costs, µs"];
    let mut table = Table::new(&headings);
    for way in [Way::Bitmap, Way::Ring] {
        if !way.is_offered()? {
            table.section(&format!("{}: not offered here", way.name()));
            continue;
        }
        table.section(way.name());
        for pages in PAGES {
            let Epochs { untracked_us, tracked_us, learnt_us } =
                epochs::measure(way, pages, arguments.epochs, arguments.mib)?;
            let each = (tracked_us - untracked_us + learnt_us) / pages as f64;
            let cells = [untracked_us, tracked_us, learnt_us, each].map(|us| format!("{us:.2}"));
            table.row(&format!("{pages} pages"), cells);
        }
    }
    let huge = huge::measure(arguments.mib)?;
    Ok(format!("{}\n\n{}\n{huge}", Description::of_this_machine().lines().join("\n"), table.text()))
}
