//! The result: one column per program, medians over the rounds.

use ftvmm_benches::{host::Description, numbers::median, spread::Spread, table::Table};
use serde::Serialize;
use serde_json::json;

use crate::{
    pair::{Candidate, Pair, PerRequest},
    parts::Part,
    path::STEPS,
};

/// The stages behind the guest's exit, as the table calls them.
const STAGES: [&str; STEPS] = [
    "guest's exit to batch closed",
    "to heard of by the controller",
    "to written to the socket",
    "to secondary woken",
    "to verified and decoded",
    "to acknowledgement written",
    "to primary woken",
    "to acknowledgement decoded",
    "to gate released",
    "to written to the TAP device",
];

/// Something that happens per request: as the table calls it, and how often.
type Count = (&'static str, fn(&PerRequest) -> f64);

/// What happens per request.
const COUNTS: [Count; 7] = [
    ("sync points", |it| it.sync_points),
    ("batches", |it| it.batches),
    ("acknowledgements", |it| it.acknowledgements),
    ("wake-ups of the primary's link thread", |it| it.primary_wakes),
    ("wake-ups of the secondary's link thread", |it| it.secondary_wakes),
    ("CPU of the primary, µs", |it| it.primary_cpu_us),
    ("CPU of the secondary, µs", |it| it.secondary_cpu_us),
];

/// What one round brought.
#[derive(Debug, Serialize)]
pub struct Round {
    /// Round trip of two processes that only block, µs.
    pub floor: Spread,
    /// Of each program.
    pub pairs: Vec<Pair>,
}

/// Everything that was measured.
pub struct Report {
    host: Description,
    programs: Vec<Candidate>,
    requests: u32,
    parts: Vec<Part>,
    rounds: Vec<Round>,
}

impl Report {
    /// Collects it.
    pub fn new(
        host: Description,
        programs: Vec<Candidate>,
        requests: u32,
        parts: Vec<Part>,
        rounds: Vec<Round>,
    ) -> Self {
        Self { host, programs, requests, parts, rounds }
    }

    /// One object with the figures of every round; the stages are in the order of `stages`.
    pub fn json(&self) -> String {
        let Self { host, programs, requests, parts, rounds } = self;
        let object = json!({
            "machine": host,
            "programs": programs,
            "requests": requests,
            "parts": parts,
            "stages": STAGES,
            "rounds": rounds,
        });
        object.to_string()
    }

    /// The machine and the table.
    pub fn text(&self) -> String {
        let mut text = self.host.lines().join("\n");
        let (rounds, requests) = (self.rounds.len(), self.requests);
        text.push_str(&format!(
            "\nplan     {rounds} rounds, {requests} requests of one client; medians over the rounds, µs\n"
        ));
        for (name, Candidate { program, options }) in self.names().zip(&self.programs) {
            text.push_str(&format!("{name:<8} {} {}\n", program.display(), options.join(" ")));
        }
        text.push('\n');
        text.push_str(&self.table().text());
        text
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        ["this", "other"].into_iter().take(self.programs.len())
    }

    fn table(&self) -> Table {
        let mut headings = vec![String::new()];
        headings.extend(self.names().flat_map(|name| [format!("{name} p50"), format!("{name} p99")]));
        if self.programs.len() > 1 {
            headings.push("p50 this/other".to_owned());
        }
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        let mut table = Table::new(&headings);
        table.section("the way of an output in a protected VM");
        for (index, name) in STAGES.into_iter().enumerate() {
            self.add_spreads(&mut table, name, |pair| pair.stages[index]);
        }
        self.add_spreads(&mut table, "total: guest's exit to the TAP device", |pair| pair.total);
        self.add_spreads(&mut table, "client: request to answer", |pair| pair.answer);

        table.section("against the round trip of two processes that only block, in the same round");
        let floors = [self.floors(|it| it.p50), self.floors(|it| it.p99)];
        table.row("that round trip", floors.map(time));
        self.add_values(&mut table, "total, times that, p50", |pair, floor| pair.total.p50 / floor.p50);
        self.add_values(&mut table, "total, more than that, p50", |pair, floor| pair.total.p50 - floor.p50);

        table.section("per request");
        for (name, count) in COUNTS {
            self.add_values(&mut table, name, |pair, _| count(&pair.per_request));
        }

        table.section("parts, within one process");
        for Part { name, spread } in &self.parts {
            table.row(name, [time(spread.p50), time(spread.p99)]);
        }
        table
    }

    fn floors(&self, value: impl Fn(Spread) -> f64) -> f64 {
        median(self.rounds.iter().map(|round| value(round.floor)))
    }

    fn add_spreads(&self, table: &mut Table, name: &str, spread: impl Fn(&Pair) -> Spread) {
        let mut cells = Vec::new();
        for program in 0..self.programs.len() {
            cells.push(time(self.median(program, |pair, _| spread(pair).p50)));
            cells.push(time(self.median(program, |pair, _| spread(pair).p99)));
        }
        cells.extend(self.ratio(|pair, _| spread(pair).p50));
        table.row(name, cells);
    }

    fn add_values(&self, table: &mut Table, name: &str, value: impl Fn(&Pair, Spread) -> f64) {
        let mut cells = Vec::new();
        for program in 0..self.programs.len() {
            cells.extend([time(self.median(program, &value)), String::new()]);
        }
        cells.extend(self.ratio(&value));
        table.row(name, cells);
    }

    fn median(&self, program: usize, value: impl Fn(&Pair, Spread) -> f64) -> f64 {
        median(self.rounds.iter().map(|round| value(&round.pairs[program], round.floor)))
    }

    /// The median of the ratios within a round, where there are two programs.
    fn ratio(&self, value: impl Fn(&Pair, Spread) -> f64) -> Option<String> {
        let ratios = self.rounds.iter().filter_map(|round| match round.pairs.as_slice() {
            [this, other] => Some(value(this, round.floor) / value(other, round.floor)),
            _ => None,
        });
        let ratio = median(ratios);
        (self.programs.len() > 1).then(|| format!("{ratio:.2}"))
    }
}

fn time(us: f64) -> String {
    format!("{us:.2}")
}
