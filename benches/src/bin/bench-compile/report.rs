//! The result: medians, ratios, targets.

use std::collections::BTreeSet;

use ftvmm_benches::{
    host::Description,
    linux::{MEMORY_MIB, Mode},
    numbers::{median, quantile},
    table::Table,
    targets::Target,
};
use serde_json::json;

use crate::{memory::MonitorMemory, plan::Plan, program::ProgramSize, round::Measured, window::Window};

/// Everything that was measured.
pub struct Report {
    plan: Plan,
    host: Description,
    place: String,
    program: ProgramSize,
    measured: Vec<Measured>,
}

impl Report {
    /// Collects it.
    pub fn new(
        plan: Plan,
        host: Description,
        place: String,
        program: ProgramSize,
        measured: Vec<Measured>,
    ) -> Self {
        Self { plan, host, place, program, measured }
    }

    /// One object with all single measurements and the medians that the targets are about.
    pub fn json(&self) -> String {
        let speed = |mode: Mode, of: Mode| median(self.ratios(mode, of, |it| Some(it.compile.seconds)));
        let object = json!({
            "machine": self.host,
            "place": self.place,
            "plan": self.plan,
            "targets": self.targets(),
            "speed_to_run": {
                "record": speed(Mode::Record, Mode::Run),
                "protected": speed(Mode::Protected, Mode::Run),
            },
            "speed_to_two": { "protected": speed(Mode::Protected, Mode::Beside) },
            "program": self.program,
            "measured": self.measured,
        });
        object.to_string()
    }

    /// For people.
    pub fn text(&self) -> String {
        let Plan { rounds, warm, idle, .. } = self.plan;
        let files = self.measured.first().map_or(0, |it| it.files);
        let mut lines = self.host.lines();
        lines.push(format!("place    {}", self.place));
        lines.push(format!(
            "plan     {rounds} rounds, {files} files compiled after {warm} to warm up, {idle} s idle; guest with \
             {MEMORY_MIB} MiB; medians"
        ));
        lines.push(String::new());
        let columns = [vec![""], Mode::ALL.map(Mode::name).to_vec()].concat();
        let mut table = Table::new(&columns);
        self.add_compile(&mut table, files);
        table.section("exits per second of the compile, by what the guest wanted");
        self.add_exits(&mut table, |it| &it.compile);
        table.section(&format!(
            "the first {warm} files after power-on, which read the compiler from the disk"
        ));
        self.add_log(&mut table, |it| &it.cold);
        table.section(&format!("idle for {idle} s"));
        self.add_log(&mut table, |it| &it.idle);
        self.add_exits(&mut table, |it| &it.idle);
        self.add_size(&mut table);
        let targets = self.targets().iter().map(Target::line).collect::<Vec<_>>().join("\n");
        format!("{}\n{}\n{targets}\n", lines.join("\n"), table.text())
    }

    fn targets(&self) -> Vec<Target> {
        let of = |value: fn(&Window) -> Option<f64>, window: fn(&Measured) -> &Window| {
            self.median(Mode::Protected, |it| value(window(it))).unwrap_or(f64::NAN)
        };
        let speed = median(self.ratios(Mode::Protected, Mode::Run, |it| Some(it.compile.seconds)));
        vec![
            Target::at_least("speed protected / run", 0.97, speed),
            Target::below("log of the compile, Mbit/s", 1.0, of(Window::log_mbit_per_s, |it| &it.compile)),
            Target::below("log of an idle guest, Mbit/s", 0.05, of(Window::log_mbit_per_s, |it| &it.idle)),
        ]
    }

    fn of(&self, mode: Mode) -> impl Iterator<Item = &Measured> {
        self.measured.iter().filter(move |it| it.mode == mode)
    }

    fn median(&self, mode: Mode, value: impl Fn(&Measured) -> Option<f64>) -> Option<f64> {
        let values: Vec<f64> = self.of(mode).filter_map(value).collect();
        (!values.is_empty()).then(|| median(values))
    }

    /// What mode `of` took in the same round, as a share of what `mode` took.
    fn ratios(&self, mode: Mode, of: Mode, cost: impl Fn(&Measured) -> Option<f64>) -> Vec<f64> {
        let both = self.of(mode).zip(self.of(of));
        both.filter_map(|(one, other)| Some(cost(other)? / cost(one)?)).collect()
    }

    fn row(&self, table: &mut Table, label: &str, digits: usize, value: impl Fn(&Measured) -> Option<f64>) {
        table.row(label, Mode::ALL.map(|mode| cell(self.median(mode, &value), digits)));
    }

    fn ratio_row(&self, table: &mut Table, label: &str, of: Mode, cost: impl Fn(&Measured) -> Option<f64>) {
        let ratios = Mode::ALL.map(|mode| self.ratios(mode, of, &cost));
        table.row(label, ratios.iter().map(|ratios| cell(Some(median(ratios.iter().copied())), 3)));
        let range = |ratios: &Vec<f64>| {
            let [low, high] = [0.25, 0.75].map(|share| quantile(ratios.iter().copied(), share));
            format!("{low:.3}–{high:.3}")
        };
        table.row("  middle half of the rounds", ratios.iter().map(range));
    }

    fn add_compile(&self, table: &mut Table, files: u32) {
        table.section(&format!("{files} files of the Linux kernel compiled, one at a time"));
        self.row(table, "seconds by the guest's clock", 2, |it| Some(it.compile.seconds));
        self.row(table, "seconds by this machine's clock, with a digest of the objects", 2, |it| {
            Some(it.host_s)
        });
        self.ratio_row(table, "speed, ratio to run", Mode::Run, |it| Some(it.compile.seconds));
        self.ratio_row(table, "speed, ratio to run, two", Mode::Beside, |it| Some(it.compile.seconds));
        self.row(table, "CPU of the live side, s", 2, |it| it.cpu_s[0]);
        self.row(table, "CPU of the other side, s", 2, |it| it.cpu_s[1]);
        self.ratio_row(table, "CPU run / CPU of the live side", Mode::Run, |it| it.cpu_s[0]);
        self.add_log(table, |it| &it.compile);
        self.row(table, "log, bytes/event", 0, |it| {
            Some(it.compile.log_bytes? as f64 / it.compile.events() as f64)
        });
        self.row(table, "log, bytes/exit", 1, |it| {
            Some(it.compile.log_bytes? as f64 / it.compile.exits.values().sum::<u64>() as f64)
        });
        self.row(table, "events/s", 1, |it| Some(it.compile.events() as f64 / it.compile.seconds));
        self.row(table, "lag p50, ms", 1, |it| Some(it.compile.lag_ms?[0]));
        self.row(table, "lag p99, ms", 1, |it| Some(it.compile.lag_ms?[1]));
    }

    fn add_log(&self, table: &mut Table, window: impl Fn(&Measured) -> &Window) {
        self.row(table, "log, Mbit/s of guest time", 4, |it| window(it).log_mbit_per_s());
        self.row(table, "of it data read from the disk", 4, |it| window(it).read_mbit_per_s());
    }

    /// The kinds that there were, and all together.
    fn add_exits(&self, table: &mut Table, window: impl Fn(&Measured) -> &Window) {
        let windows = || self.measured.iter().map(&window);
        let kinds: BTreeSet<&String> = windows()
            .flat_map(|window| &window.exits)
            .filter(|(_, count)| **count > 0)
            .map(|(kind, _)| kind)
            .collect();
        for kind in kinds {
            let per_s = |it: &Measured| {
                let window = window(it);
                Some(*window.exits.get(kind)? as f64 / window.seconds)
            };
            self.row(table, &format!("exits/s, {}", kind.replace('_', " ")), 1, per_s);
        }
        self.row(table, "exits/s, all", 1, |it| Some(window(it).exits_per_s()));
    }

    fn add_size(&self, table: &mut Table) {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        table.section("smallness");
        let sides = ["memory of the live side", "memory of the other side"];
        for (side, name) in sides.into_iter().enumerate() {
            let of = |value: fn(&MonitorMemory) -> u64| {
                move |it: &Measured| it.memory[side].as_ref().map(|memory| mib(value(memory) << 10))
            };
            self.row(table, &format!("{name} beyond the guest's RAM, MiB"), 1, of(|it| it.beyond_guest_kib));
            self.row(table, &format!("{name} for the guest's RAM, MiB"), 0, of(|it| it.guest_kib));
            self.row(table, "of it in huge pages, MiB", 0, of(|it| it.guest_huge_kib));
        }
        self.row(table, "start of the monitor to the guest's init, s", 2, |it| Some(it.start_s));
        self.row(table, "the same by the guest's clock, s", 2, |it| Some(it.up_s));
        let ProgramSize { file, loaded } = self.program;
        table.row("program, MiB loaded", [format!("{:.1}", mib(loaded))]);
        table.row("program, MiB with notes for debuggers", [format!("{:.1}", mib(file))]);
    }
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.filter(|value| value.is_finite()).map_or_else(String::new, |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use machine::EventCount;

    use super::*;

    fn window(seconds: f64, log_bytes: Option<u64>) -> Window {
        Window {
            seconds,
            exits: BTreeMap::from([("halt".to_owned(), 20), ("msr".to_owned(), 0)]),
            inputs: BTreeMap::from([("disk".to_owned(), EventCount { count: 4, bytes: 4096 })]),
            log_bytes,
            lag_ms: log_bytes.map(|_| [1.0, 2.0]),
        }
    }

    fn report() -> Report {
        // The second round ran on a machine that others used: twice as long, and the ratios as before.
        let measured = [(0, 1.0), (1, 2.0), (2, 1.0)].iter().flat_map(|(round, slowness)| {
            Mode::ALL.map(|mode| {
                let seconds = match mode {
                    Mode::Protected => slowness * 12.5,
                    Mode::Beside => slowness * 11.0,
                    Mode::Run | Mode::Record => slowness * 10.0,
                };
                let log = matches!(mode, Mode::Record | Mode::Protected).then_some(125_000);
                Measured {
                    round: *round,
                    mode,
                    start_s: 3.0,
                    up_s: 2.0,
                    files: 7,
                    objects: "abc".to_owned(),
                    cold: window(1.0, log),
                    compile: window(seconds, log),
                    host_s: seconds,
                    cpu_s: [Some(seconds), None],
                    idle: window(10.0, log.map(|_| 1000)),
                    memory: [
                        Some(MonitorMemory {
                            beyond_guest_kib: 2048,
                            guest_kib: 65536,
                            guest_huge_kib: 4096,
                        }),
                        None,
                    ],
                }
            })
        });
        let plan = Plan { rounds: 3, files: Some(7), warm: 1, idle: 10 };
        let program = ProgramSize { file: 3 << 20, loaded: 2 << 20 };
        Report::new(plan, Description::of_this_machine(), "here".into(), program, measured.collect())
    }

    #[test]
    fn ratios_are_of_one_round_and_targets_are_judged_by_them() {
        let report = report();
        let met: Vec<bool> = report.targets().iter().map(|target| target.met).collect();
        assert_eq!(met, [false, true, true], "{:?}", report.targets());
        assert_eq!(report.ratios(Mode::Protected, Mode::Run, |it| Some(it.compile.seconds)), [0.8, 0.8, 0.8]);
    }

    #[test]
    fn both_forms_tell_the_same() {
        let report = report();
        let text = report.text();
        assert!(text.contains("MISSED  speed protected / run: 0.80"), "{text}");
        assert!(text.contains("exits/s, halt") && !text.contains("exits/s, msr"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["measured"].as_array().unwrap().len(), 12);
        assert_eq!(json["speed_to_run"]["protected"], 0.8);
        assert_eq!(json["speed_to_two"]["protected"], 0.88);
        assert_eq!(json["measured"][0]["compile"]["exits"]["halt"], 20);
    }
}
