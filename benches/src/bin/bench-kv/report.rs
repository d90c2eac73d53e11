//! The result: medians, ratios, targets.

use ftvmm_benches::{
    host::Description,
    numbers::{median, quantile},
    table::Table,
    targets::Target,
};
use serde_json::json;

use crate::{
    load::{COMMANDS, CONNECTIONS, PIPELINE},
    modes::Mode,
    plan::Plan,
    replayed::Replayed,
    round::Measured,
    takeovers::Takeovers,
};

/// Everything that was measured.
pub struct Report {
    plan: Plan,
    host: Description,
    measured: Vec<Measured>,
    replays: Vec<Replayed>,
    takeovers: Takeovers,
}

impl Report {
    /// Collects it.
    pub fn new(
        plan: Plan,
        host: Description,
        measured: Vec<Measured>,
        replays: Vec<Replayed>,
        takeovers: Takeovers,
    ) -> Self {
        Self { plan, host, measured, replays, takeovers }
    }

    /// One object with all single measurements and the medians that the targets are about.
    pub fn json(&self) -> String {
        let ratios = |pipeline| {
            let pairs = Mode::ALL
                .map(|mode| (mode.name(), self.ratio(mode, pipeline, |it| it.outcome.requests_per_s)));
            pairs
                .into_iter()
                .map(|(name, ratio)| (name.to_owned(), json!(ratio)))
                .collect::<serde_json::Map<_, _>>()
        };
        let object = json!({
            "machine": self.host,
            "plan": self.plan,
            "targets": self.targets(),
            "throughput_to_run": ratios(1),
            "pipelined_throughput_to_run": ratios(PIPELINE),
            "measured": self.measured,
            "replays": self.replays,
            "takeovers": self.takeovers,
        });
        object.to_string()
    }

    /// The machine, the table, the targets.
    pub fn text(&self) -> String {
        let mut text = self.host.lines().join("\n");
        let Plan { rounds, requests, kills } = self.plan;
        text.push_str(&format!(
            "\nplan     {rounds} rounds, {requests} requests of each command ({} pipelined), {kills} kills; medians\n\n",
            requests * 8
        ));
        let names = Mode::ALL.map(Mode::name);
        let mut table = Table::new(&[&[""], names.as_slice()].concat());
        for pipeline in [1, PIPELINE] {
            self.add_load(&mut table, pipeline);
        }
        self.add_replay(&mut table);
        self.add_takeovers(&mut table);
        text.push_str(&table.text());
        text.push('\n');
        for target in self.targets() {
            text.push_str(&target.line());
            text.push('\n');
        }
        text
    }

    /// What the issue asks for, and what came out.
    fn targets(&self) -> Vec<Target> {
        let throughput = |mode| self.ratio(mode, 1, |it| it.outcome.requests_per_s);
        let mut targets = vec![
            Target::at_least("throughput recorded / run", 0.90, throughput(Mode::Record)),
            Target::at_least("throughput with the acknowledging peer / run", 0.90, throughput(Mode::AckPeer)),
        ];
        for (mode, name) in [
            (Mode::AckPeer, "commit delay p50, acknowledging peer, µs"),
            (Mode::Pair, "commit delay p50, full pair, µs"),
        ] {
            let delays = self.of(mode, 1).filter_map(|it| it.commit_delay_us).map(|[p50, _]| p50);
            targets.push(Target::below(name, 300.0, median(delays)));
        }
        let speed = self.replays.iter().map(|it| it.busy_s / it.replay_cpu_s);
        targets.push(Target::at_least("replay speed / recording speed", 1.0, median(speed)));
        if self.plan.kills > 0 {
            let wait = quantile(self.takeovers.waits_ms(), 0.99);
            targets.push(Target::below("SIGKILL to a client's next answer p99, ms", 400.0, wait));
        }
        targets
    }

    fn of(&self, mode: Mode, pipeline: u32) -> impl Iterator<Item = &Measured> {
        self.measured.iter().filter(move |it| it.mode == mode && it.pipeline == pipeline)
    }

    fn median(&self, mode: Mode, pipeline: u32, value: impl Fn(&Measured) -> Option<f64>) -> Option<f64> {
        let values: Vec<f64> = self.of(mode, pipeline).filter_map(value).collect();
        (!values.is_empty()).then(|| median(values))
    }

    /// The median of the ratios to `run` in the same round.
    fn ratio(&self, mode: Mode, pipeline: u32, value: impl Fn(&Measured) -> f64) -> f64 {
        median(self.ratios(mode, pipeline, value))
    }

    fn ratios(&self, mode: Mode, pipeline: u32, value: impl Fn(&Measured) -> f64) -> Vec<f64> {
        let baseline = self.of(Mode::Run, pipeline);
        self.of(mode, pipeline).zip(baseline).map(|(one, run)| value(one) / value(run)).collect()
    }

    fn add_load(&self, table: &mut Table, pipeline: u32) {
        match pipeline {
            1 => table.section(&format!("{CONNECTIONS} connections")),
            _ => table.section(&format!(
                "{CONNECTIONS} connections, {pipeline} requests at a time (-P {pipeline})"
            )),
        }
        let mut row = |label: &str, digits: usize, value: &dyn Fn(&Measured) -> Option<f64>| {
            let cells = Mode::ALL.map(|mode| cell(self.median(mode, pipeline, value), digits));
            table.row(label, cells);
        };
        for (n, command) in COMMANDS.iter().enumerate() {
            row(&format!("{command} requests/s"), 0, &|it| Some(it.outcome.commands[n].requests_per_s));
            row(&format!("{command} latency p50, ms"), 2, &|it| Some(it.outcome.commands[n].p50_ms));
            row(&format!("{command} latency p99, ms"), 2, &|it| Some(it.outcome.commands[n].p99_ms));
        }
        row("all requests/s", 0, &|it| Some(it.outcome.requests_per_s));
        self.add_ratios(table, "all requests/s, ratio to run", pipeline, |it| it.outcome.requests_per_s);
        let mut row = |label: &str, digits: usize, value: &dyn Fn(&Measured) -> Option<f64>| {
            let cells = Mode::ALL.map(|mode| cell(self.median(mode, pipeline, value), digits));
            table.row(label, cells);
        };
        row("CPU client, s", 2, &|it| Some(it.outcome.client_cpu_s));
        row("CPU VM's process, s", 2, &|it| Some(it.vm_cpu_s));
        row("CPU other side, s", 2, &|it| it.peer_cpu_s);
        row("CPU VM's process, µs/request", 2, &|it| Some(it.vm_cpu_s * 1e6 / it.outcome.requests as f64));
        row("log, Mbit/s", 2, &|it| Some(it.log_bytes? as f64 * 8e-6 / it.outcome.elapsed_s));
        row("log, bytes/request", 1, &|it| Some(it.log_bytes? as f64 / it.outcome.requests as f64));
        row("log, bytes/sync point", 1, &|it| Some(it.log_bytes? as f64 / it.sync_points? as f64));
        if pipeline == 1 {
            row("commit delay p50, µs", 0, &|it| it.commit_delay_us.map(|[p50, _]| p50));
            row("commit delay p99, µs", 0, &|it| it.commit_delay_us.map(|[_, p99]| p99));
        }
        self.add_ratios(table, "CPU VM's process, ratio to run", pipeline, |it| it.vm_cpu_s);
    }

    /// A row of ratios to `run`, and one of the range in which the middle half of the rounds lies.
    fn add_ratios(&self, table: &mut Table, label: &str, pipeline: u32, value: impl Fn(&Measured) -> f64) {
        let ratios = Mode::ALL.map(|mode| self.ratios(mode, pipeline, &value));
        table.row(label, ratios.iter().map(|ratios| cell(Some(median(ratios.iter().copied())), 2)));
        let range = |ratios: &Vec<f64>| {
            let [low, high] = [0.25, 0.75].map(|share| quantile(ratios.iter().copied(), share));
            format!("{low:.2}–{high:.2}")
        };
        table.row("  middle half of the rounds", ratios.iter().map(range));
    }

    fn add_replay(&self, table: &mut Table) {
        table.section("replay of the recordings");
        let mut row = |label: &str, digits: usize, value: &dyn Fn(&Replayed) -> f64| {
            // Beneath the mode that recorded it.
            table.row(label, [String::new(), cell(Some(median(self.replays.iter().map(value))), digits)]);
        };
        row("sync points", 0, &|it| it.sync_points as f64);
        row("log, bytes/sync point", 1, &|it| it.log_bytes as f64 / it.sync_points as f64);
        row("guest time, s", 2, &|it| it.guest_s);
        row("of it busy, CPU s", 2, &|it| it.busy_s);
        row("replay, s", 2, &|it| it.replay_s);
        row("replay, CPU s", 2, &|it| it.replay_cpu_s);
        row("guest time / replay", 2, &|it| it.guest_s / it.replay_s);
        row("busy CPU s / replay CPU s", 2, &|it| it.busy_s / it.replay_cpu_s);
    }

    fn add_takeovers(&self, table: &mut Table) {
        let Takeovers { parts, acknowledged, survived, .. } = &self.takeovers;
        if parts.is_empty() {
            return;
        }
        let kills = parts.len();
        table.section(&format!(
            "{kills} kills of the primary, ms ({acknowledged} answers, none lost or repeated; {survived} connections outlived all kills)"
        ));
        table.row("", ["p50", "p99", "longest"].map(str::to_owned));
        let mut row = |label: &str, values: Vec<f64>| {
            let cells = [0.5, 0.99, 1.0].map(|share| cell(Some(quantile(values.iter().copied(), share)), 2));
            table.row(label, cells);
        };
        row("detection", parts.iter().map(|it| it.detection_ms).collect());
        row("drain", parts.iter().map(|it| it.drain_ms).collect());
        row("arbitration", parts.iter().map(|it| it.arbitration_ms).collect());
        row("resume", parts.iter().map(|it| it.resume_ms).collect());
        row("first output", parts.iter().filter_map(|it| it.first_output_ms).collect());
        let total = parts.iter().map(|it| it.total_ms + it.first_output_ms.unwrap_or(0.0));
        row("total", total.collect());
        row("SIGKILL to the next answer, any client", self.takeovers.shortest_waits_ms());
        row("SIGKILL to the next answer, each client", self.takeovers.waits_ms());
    }
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(String::new, |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use crate::load::{CommandResult, Outcome};

    use super::*;

    fn measured(round: u32, mode: Mode, requests_per_s: f64) -> Measured {
        let command = |name: &&str| {
            let (p50_ms, p99_ms) = (1.0, 2.0);
            CommandResult { name: (*name).to_owned(), requests_per_s, p50_ms, p99_ms }
        };
        let outcome = Outcome {
            commands: COMMANDS.iter().map(command).collect(),
            requests_per_s,
            requests: 3000,
            elapsed_s: 1.0,
            client_cpu_s: 0.1,
        };
        Measured {
            round,
            pipeline: 1,
            mode,
            outcome,
            vm_cpu_s: 0.2,
            peer_cpu_s: None,
            log_bytes: None,
            sync_points: None,
            commit_delay_us: Some([100.0, 200.0]),
        }
    }

    fn report() -> Report {
        // The second round ran on a machine that others used: half of everything, and the ratios as before.
        let rounds = [(0, 1.0), (1, 0.5), (2, 1.0)];
        let measured = rounds.iter().flat_map(|(round, speed)| {
            Mode::ALL.map(|mode| {
                let share = if mode == Mode::Record { 0.8 } else { 1.0 };
                measured(*round, mode, 1000.0 * speed * share)
            })
        });
        let plan = Plan { rounds: 3, requests: 1000, kills: 0 };
        Report::new(
            plan,
            Description::of_this_machine(),
            measured.collect(),
            Vec::new(),
            Takeovers::default(),
        )
    }

    #[test]
    fn ratios_are_of_one_round_and_targets_are_judged_by_them() {
        let report = report();
        assert_eq!(report.ratio(Mode::Record, 1, |it| it.outcome.requests_per_s), 0.8);
        let met: Vec<bool> = report.targets().iter().map(|target| target.met).collect();
        assert_eq!(met, [false, true, true, true, false], "{:?}", report.targets());
    }

    #[test]
    fn both_forms_tell_the_same() {
        let report = report();
        let text = report.text();
        assert!(text.contains("MISSED  throughput recorded / run: 0.80"), "{text}");
        assert!(text.lines().any(|line| line.trim_start().starts_with("all requests/s  ")), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["measured"].as_array().unwrap().len(), 12);
        assert_eq!(json["throughput_to_run"]["record"], 0.8);
        assert_eq!(json["measured"][0]["mode"], "run");
    }
}
