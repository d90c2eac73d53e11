//! The result: for each wire and each kind of bulk, medians over the rounds, in columns for each program.

use std::path::PathBuf;

use ftvmm_benches::{host::Description, numbers::median, table::Table};
use ftvmm_tests::way::Wire;
use serde_json::json;

use crate::{bulk::Bulk, gaps::Quantiles, seed::Seed};

/// Some of what a seed was like: as the table calls it, and what it is.
type Row<T> = (&'static str, fn(&Seed) -> T);

const SPREADS: [Row<Quantiles>; 5] = [
    ("primary, during the seed", |it| it.primary[0]),
    ("primary, without one", |it| it.primary[1]),
    ("secondary, during the seed", |it| it.secondary[0]),
    ("secondary, without one", |it| it.secondary[1]),
    ("waits for the wire in the primary's kernel, KiB", |it| it.queue),
];

/// Everything that was measured.
pub struct Report {
    host: Description,
    wires: &'static [(&'static str, Wire)],
    programs: Vec<PathBuf>,
    mib: u32,
    /// By round, by case and by program.
    rounds: Vec<Vec<Vec<Seed>>>,
}

impl Report {
    /// Collects it.
    pub fn new(
        host: Description,
        wires: &'static [(&'static str, Wire)],
        programs: Vec<PathBuf>,
        mib: u32,
        rounds: Vec<Vec<Vec<Seed>>>,
    ) -> Self {
        Self { host, wires, programs, mib, rounds }
    }

    /// One object with the figures of every round: lists of what the cases brought, of what the programs brought.
    pub fn json(&self) -> String {
        let Self { host, programs, mib, rounds, .. } = self;
        let cases: Vec<String> = self.cases().collect();
        json!({ "machine": host, "programs": programs, "mib": mib, "cases": cases, "rounds": rounds })
            .to_string()
    }

    /// The machine and the table.
    pub fn text(&self) -> String {
        let mut text = self.host.lines().join("\n");
        let (rounds, mib) = (self.rounds.len(), self.mib);
        text.push_str(&format!(
            "\nplan     {rounds} rounds, seeds of {mib} MiB or what the wire carries in 5 s; medians over the rounds\n"
        ));
        for (name, program) in self.names().zip(&self.programs) {
            text.push_str(&format!("{name:<8} {}\n", program.display()));
        }
        text.push_str(
            "\ngaps between what a side says beside the seed, as heard at the other end of the wire, ms\n\n",
        );
        text.push_str(&self.table().text());
        text
    }

    /// What was measured in a round, in the order in which it was.
    fn cases(&self) -> impl Iterator<Item = String> {
        let wires = self.wires.iter();
        wires.flat_map(|(wire, _)| Bulk::ALL.map(|bulk| format!("{} over {wire}", bulk.name())))
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        ["this", "other"].into_iter().take(self.programs.len())
    }

    fn table(&self) -> Table {
        let columns = |name: &str| ["p50", "p99", "most"].map(|what| format!("{name} {what}"));
        let mut headings = vec![String::new()];
        headings.extend(self.names().flat_map(columns));
        if self.programs.len() > 1 {
            headings.push("most this/other".to_owned());
        }
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        let mut table = Table::new(&headings);
        for (case, title) in self.cases().enumerate() {
            table.section(&title);
            for (name, quantiles) in SPREADS {
                self.add_quantiles(&mut table, case, name, quantiles);
            }
            self.add_value(&mut table, case, "the seed, s", |it| it.seconds);
            self.add_value(&mut table, case, "the seed, MiB", |it| it.mib);
        }
        table
    }

    fn add_quantiles(
        &self,
        table: &mut Table,
        case: usize,
        name: &str,
        quantiles: impl Fn(&Seed) -> Quantiles,
    ) {
        let mut cells = Vec::new();
        for program in 0..self.programs.len() {
            let median =
                |value: fn(Quantiles) -> f64| self.median(case, program, |seed| value(quantiles(seed)));
            cells.extend([median(|it| it.p50), median(|it| it.p99), median(|it| it.most)].map(figure));
        }
        cells.extend(self.ratio(case, |seed| quantiles(seed).most));
        table.row(name, cells);
    }

    fn add_value(&self, table: &mut Table, case: usize, name: &str, value: impl Fn(&Seed) -> f64) {
        let mut cells = Vec::new();
        for program in 0..self.programs.len() {
            cells.extend([figure(self.median(case, program, &value)), String::new(), String::new()]);
        }
        cells.extend(self.ratio(case, value));
        table.row(name, cells);
    }

    fn median(&self, case: usize, program: usize, value: impl Fn(&Seed) -> f64) -> f64 {
        median(self.rounds.iter().map(|round| value(&round[case][program])))
    }

    /// The median of the ratios within a round, where there are two programs.
    fn ratio(&self, case: usize, value: impl Fn(&Seed) -> f64) -> Option<String> {
        let ratios = self.rounds.iter().filter_map(|round| match round[case].as_slice() {
            [this, other] => Some(value(this) / value(other)),
            _ => None,
        });
        let ratio = median(ratios);
        (self.programs.len() > 1).then(|| format!("{ratio:.2}"))
    }
}

fn figure(value: f64) -> String {
    format!("{value:.2}")
}
