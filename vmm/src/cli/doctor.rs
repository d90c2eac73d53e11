//! `ftvmm doctor`.

use std::io::{IsTerminal, Write, stdout};

use clap::Args;
use serde_json::json;

use super::exit;
use crate::doctor::{self, Finding, Severity};

/// Show what this host can do, and what to change where it can't
///
/// Checks KVM, the rights and devices for networking, and the host's clock, and has a small guest run twice to see
/// that it does the same both times. Changes nothing. The exit status is 0 when a side of a pair can run here, and 3
/// when something is missing.
#[derive(Args)]
pub struct Doctor {
    /// Print the findings as one JSON object
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub fn execute(self) -> anyhow::Result<u8> {
        let findings = doctor::examine();
        let able = doctor::can_run_a_pair(&findings);
        let text = if self.json {
            json!({ "can_run_a_pair": able, "findings": findings }).to_string()
        } else {
            let can = if able { "can" } else { "cannot" };
            let lines: String = findings.iter().map(describe).collect();
            format!("{lines}\nThis host {can} run a side of a pair.")
        };
        // A reader that has gone away (`doctor | head`) is no error.
        let _ = writeln!(stdout(), "{text}");
        Ok(if able { 0 } else { exit::FAILED })
    }
}

fn describe(finding: &Finding) -> String {
    let (word, colour) = match finding.severity {
        Severity::Ok => ("ok", "32"),
        Severity::Warning => ("warning", "33"),
        Severity::Missing => ("missing", "31"),
    };
    let word = format!("{word:<8}");
    let word = if stdout().is_terminal() { format!("\x1b[{colour}m{word}\x1b[0m") } else { word };
    let remedy = finding.remedy.iter().map(|remedy| format!("{:29}→ {remedy}\n", "")).collect::<String>();
    format!("{word} {:<20}{}\n{remedy}", finding.subject, finding.found)
}
