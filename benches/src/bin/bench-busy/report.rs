//! The result.

use ftvmm::control::DeltaReport;
use ftvmm_benches::{linux::Mode, table::Table};
use serde::Serialize;

use crate::{
    load::Load,
    waits::{Times, Waits},
};

/// One load in one mode.
#[derive(Debug, Serialize)]
pub struct Row {
    pub mode: Mode,
    pub load: Load,
    pub waits: Waits,
    pub deltas: DeltaReport,
}

/// For people.
pub fn text(rows: &[Row]) -> String {
    let headings = [
        "ms: p50, p99, most",
        "ping",
        "GET",
        "INCR, on the disk",
        "deltas",
        "a tick waited",
        "it stood",
        "pages",
    ];
    let mut table = Table::new(&headings);
    for mode in [Mode::Run, Mode::Protected] {
        table.section(mode.name());
        for Row { load, waits: Waits { ping, incr, get }, deltas, .. } in
            rows.iter().filter(|row| row.mode == mode)
        {
            let cells = [ping, get, incr].map(times).into_iter().chain(of_deltas(deltas));
            table.row(load.name(), cells);
        }
    }
    table.text()
}

fn times(Times { p50, p99, most, .. }: &Times) -> String {
    format!("{p50:.1} {p99:.1} {most:.1}")
}

fn of_deltas(deltas: &DeltaReport) -> Vec<String> {
    if deltas.count == 0 {
        return Vec::new();
    }
    vec![
        deltas.count.to_string(),
        format!("{:.1} {:.1} {:.1}", deltas.waited_p50_ms, deltas.waited_p99_ms, deltas.waited_most_ms),
        format!("{:.1} {:.1}", deltas.stop_p50_ms, deltas.stop_p99_ms),
        format!("{:.0}", deltas.pages as f64 / deltas.count as f64),
    ]
}
