//! The result: medians with their ranges, and ratios.

use ftvmm_benches::{
    host::Description,
    numbers::{median, quantile},
    table::Table,
};
use serde::Serialize;
use serde_json::json;

use crate::{guest::MEMORY_MIB, kind::Kind, load::Work, round::Measured};

/// How much is measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Plan {
    /// Rounds.
    pub rounds: u32,
    /// How often each guest is sent under each load.
    pub passages: u32,
}

/// Everything that was measured.
pub struct Report {
    plan: Plan,
    host: Description,
    measured: Vec<Measured>,
}

/// A figure of a passage, where there is one.
type Figure<'a> = &'a dyn Fn(&Measured) -> Option<f64>;

impl Report {
    /// Collects it.
    pub fn new(plan: Plan, host: Description, measured: Vec<Measured>) -> Self {
        Self { plan, host, measured }
    }

    /// One object with all single measurements.
    pub fn json(&self) -> String {
        json!({ "machine": self.host, "plan": self.plan, "measured": self.measured }).to_string()
    }

    /// For people.
    pub fn text(&self) -> String {
        let Plan { rounds, passages } = self.plan;
        let mut lines = self.host.lines();
        lines.push(
            "place    two lab hosts, emulated on this machine: QEMU (TCG) with nested AMD SVM".to_owned(),
        );
        lines.push(format!(
            "plan     {rounds} rounds, {passages} passages under each load; guest with {MEMORY_MIB} MiB and one vCPU; \
             medians, least and most in brackets"
        ));
        let mut table = Table::new(&["", Kind::Ftvmm.name(), Kind::Qemu.name(), "ftvmm / QEMU"]);
        for work in Work::ALL {
            table.section(work.name());
            self.add_stop(&mut table, work);
            self.add_way(&mut table, work);
            self.add_clients(&mut table, work);
        }
        format!("{}\n\n{}", lines.join("\n"), table.text())
    }

    fn add_stop(&self, table: &mut Table, work: Work) {
        self.row(table, work, "the guest stood, ms", &|it| Some(it.passage.stop_ms));
        self.row(table, work, "  for its disks", &|it| Some(it.passage.stop.as_ref()?.disks_ms));
        self.row(table, work, "  for their last blocks", &|it| Some(it.passage.stop.as_ref()?.blocks_ms));
        self.row(table, work, "  for the last pages", &|it| Some(it.passage.stop.as_ref()?.pages_ms));
        self.row(table, work, "  for vCPU and devices", &|it| Some(it.passage.stop.as_ref()?.state_ms));
        self.row(table, work, "pages sent at it", &|it| Some(it.passage.stop.as_ref()?.pages as f64));
        self.row(table, work, "asked until it stood, ms", &|it| Some(it.passage.stop.as_ref()?.asked_ms));
        self.row(table, work, "what it said then was held, ms", &|it| it.passage.held_ms);
        self.row(table, work, "nothing it said got out, ms", &|it| Some(it.passage.silent_ms()));
        self.row(table, work, "stop allowed at last, ms", &|it| it.passage.limit_ms.map(|ms| ms as f64));
    }

    fn add_way(&self, table: &mut Table, work: Work) {
        self.row(table, work, "from beginning to end, s", &|it| Some(it.passage.total_ms / 1e3));
        self.row(table, work, "rounds", &|it| Some(it.passage.rounds));
        self.row(table, work, "slowed at last, %", &|it| it.passage.slowed_percent.map(f64::from));
        self.row(table, work, "MiB sent", &|it| Some(it.passage.sent_mib));
    }

    fn add_clients(&self, table: &mut Table, work: Work) {
        self.row(table, work, "answers/s before", &|it| Some(it.before.rate));
        self.row(table, work, "answers/s during it", &|it| Some(it.during.rate));
        self.row(table, work, "  as a share of those before", &|it| Some(it.share()));
        self.row(table, work, "seconds in which they came", &|it| Some(it.during.seconds));
        self.row(table, work, "  of them lost, as if it stood", &|it| {
            Some(it.during.seconds * (1.0 - it.share()))
        });
        self.row(table, work, "longest wait before, ms", &|it| Some(it.before.longest_ms));
        self.row(table, work, "longest wait during it, ms", &|it| Some(it.during.longest_ms));
        self.row(table, work, "  before the end of it, s", &|it| {
            Some(it.during.seconds - it.during.longest_after_s)
        });
    }

    /// The values of one monitor; of one round, where one is given.
    fn values(&self, work: Work, kind: Kind, round: Option<u32>, figure: Figure<'_>) -> Vec<f64> {
        let wanted = |it: &&Measured| {
            it.work == work && it.monitor == kind && round.is_none_or(|round| it.round == round)
        };
        self.measured.iter().filter(wanted).filter_map(figure).collect()
    }

    /// Medians of a round, one to the other.
    fn ratio(&self, work: Work, round: u32, figure: Figure<'_>) -> Option<f64> {
        let [ours, theirs] = Kind::ALL.map(|kind| self.values(work, kind, Some(round), figure));
        if ours.is_empty() || theirs.is_empty() {
            return None;
        }
        let ratio = median(ours) / median(theirs);
        ratio.is_finite().then_some(ratio)
    }

    fn row(&self, table: &mut Table, work: Work, label: &str, figure: Figure<'_>) {
        let ratios: Vec<f64> =
            (0..self.plan.rounds).filter_map(|round| self.ratio(work, round, figure)).collect();
        let [ours, theirs] = Kind::ALL.map(|kind| self.values(work, kind, None, figure));
        table.row(label, [ours, theirs, ratios].iter().map(|values| cell(values)));
    }
}

/// The median, with the least and the most of several.
fn cell(values: &[f64]) -> String {
    let of = |share| number(quantile(values.iter().copied(), share));
    match values.len() {
        0 => String::new(),
        1 => of(1.0),
        _ => format!("{} ({}–{})", number(median(values.iter().copied())), of(0.0), of(1.0)),
    }
}

/// With about three digits.
fn number(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_three_digits_and_a_range_where_there_is_one() {
        assert_eq!(cell(&[]), "");
        assert_eq!(cell(&[3.0]), "3.00");
        assert_eq!(cell(&[3.0, 1234.5, 20.0]), "20.0 (3.00–1234)");
    }
}
