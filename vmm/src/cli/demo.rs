//! `ftvmm demo`.

use std::{
    io::{Write, stdout},
    time::Duration,
};

use anyhow::ensure;
use clap::Args;

use crate::demo::{self, Narrator, Plan, verdict::Verdict};

/// Show the whole story on this machine: a protected VM under load, two kills, and a verdict
///
/// Makes a private network namespace, a primary and a secondary with a key-value server as their guest, and clients
/// that count in it; kills the primary, gives the survivor a new secondary, and kills again. Then it compares the
/// counters with every answer that a client got. Needs root, and leaves nothing behind.
#[derive(Args)]
pub struct Demo {
    /// Tell the story on standard error, and the verdict as one JSON object on the last line of standard output
    #[arg(long)]
    json: bool,
    /// How long the clients count altogether
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Show what happens when the secondary is never started
    #[arg(long, hide = true)]
    without_secondary: bool,
}

impl Demo {
    pub fn execute(self) -> anyhow::Result<u8> {
        let narrator = Narrator::new(self.json);
        let plan =
            Plan { counting: Duration::from_secs(self.seconds), without_secondary: self.without_secondary };
        let verdict = demo::tell(plan, &narrator)?;
        show(&verdict, &narrator);
        if self.json {
            writeln!(stdout(), "{}", serde_json::to_string(&verdict)?)?;
        }
        ensure!(verdict.passed(), "the demo failed: {}", verdict.verdict);
        Ok(0)
    }
}

fn show(verdict: &Verdict, narrator: &Narrator) {
    narrator.plain("");
    for (name, value) in [
        ("acknowledged increments", verdict.acknowledged.to_string()),
        ("of unknown outcome", verdict.unknown.to_string()),
        ("lost", verdict.lost.to_string()),
        ("repeated", verdict.repeated.to_string()),
        ("longest gap for the clients", format!("{:.1} ms", verdict.longest_gap_ms)),
        ("log under load", format!("{:.2} Mbit/s", verdict.log_bytes_per_s * 8.0 / 1e6)),
        (
            "takeovers",
            verdict
                .takeovers
                .iter()
                .map(|it| format!("{:.1} ms", it.total_ms))
                .collect::<Vec<_>>()
                .join(", "),
        ),
        ("connections that survived", format!("{} of {}", verdict.connections_survived, verdict.connections)),
    ] {
        narrator.plain(&format!("  {name:<28} {value}"));
    }
    narrator.plain("");
    if verdict.passed() {
        narrator.good("Verdict: passed. Two hosts died, and no acknowledged increment was lost or repeated.");
    } else {
        narrator.bad(&format!("Verdict: FAILED: {}", verdict.verdict));
    }
}
