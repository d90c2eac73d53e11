//! What a soak has found, a line for each difference and a table in the end.

use std::fmt::{self, Write};

use anyhow::{Context, ensure};
use ftvmm::control::DeltaReport;
use ftvmm_tests::lab::process::Footprint;

use super::{super::clients::Verdict, heal::Heal};

/// How much more than before a process may have of its own in the end, KiB. Seeds, deltas and log come and go in pieces of
/// up to some MiB, which the allocator does not always give back at once; what grows with the number of heals, or with
/// time, is far more than this after an hour.
const GROWTH_KIB: u64 = 16 << 10;
const NAMES: [&str; 2] = ["primary", "secondary"];

/// One difference, and what was to be seen when it had been healed for a while.
pub struct Round {
    /// Its number, from 1.
    pub number: u64,
    /// How it was healed.
    pub heal: Heal,
    /// Since then.
    pub deltas: DeltaReport,
    /// Primary and secondary.
    pub sides: [Footprint; 2],
    /// What the guest was asked for.
    pub checked: String,
}

/// All of them.
#[derive(Default)]
pub struct Report(Vec<Round>);

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, heal, deltas, sides, checked } = self;
        write!(
            f,
            "difference {number}, in {}, found at #{}; unprotected for {:.0} ms; {} pages differed, {} KiB sent, stop of \
             {:.1} ms; {} deltas since; {checked};",
            heal.place,
            heal.position,
            heal.unprotected_ms,
            heal.pages,
            heal.seed.sent_bytes >> 10,
            heal.seed.stop.total_ms,
            deltas.count
        )?;
        if !heal.unmade.is_empty() {
            write!(f, " before it the two differed where nobody had made them, at {:?};", heal.unmade)?;
        }
        for (name, Footprint { descriptors, threads, own_kib, guest_kib }) in NAMES.iter().zip(sides) {
            write!(
                f,
                " {name}: {descriptors} descriptors, {threads} threads, {own_kib} KiB and {guest_kib} KiB of the guest;"
            )?;
        }
        Ok(())
    }
}

impl Report {
    pub fn add(&mut self, round: Round) {
        self.0.push(round);
    }

    /// How many divergences nobody had made.
    pub fn unmade(&self) -> usize {
        self.0.iter().map(|round| round.heal.unmade.len()).sum()
    }

    /// What both had after the first heal.
    ///
    /// # Errors
    /// When there was none.
    pub fn first_sides(&self) -> anyhow::Result<[Footprint; 2]> {
        Ok(self.0.first().context("nothing was healed")?.sides)
    }

    /// In the last quarter neither process has had more memory of its own than in the second, but for what comes and goes.
    ///
    /// # Errors
    /// When it has.
    pub fn is_flat(&self) -> anyhow::Result<()> {
        let count = self.0.len();
        for (side, name) in NAMES.iter().enumerate() {
            let most = |rounds: &[Round]| rounds.iter().map(|round| round.sides[side].own_kib).max();
            let before = most(&self.0[count / 4..count.div_ceil(2)]).context("too few rounds")?;
            let last = most(&self.0[count * 3 / 4..]).context("too few rounds")?;
            ensure!(
                last <= before + GROWTH_KIB,
                "the {name}'s own memory has grown from {before} to {last} KiB"
            );
        }
        Ok(())
    }

    pub fn table(&self, verdict: &Verdict) -> String {
        let deltas: u64 = self.0.iter().map(|round| round.deltas.count).sum();
        let mut table = format!("{} differences healed; {deltas} deltas beside\n", self.0.len());
        let _ = writeln!(table, "{:34}{:>10}{:>10}{:>10}", "", "p50", "p99", "most");
        let mut row = |what: &str, value: &dyn Fn(&Heal) -> f64| {
            let mut values: Vec<f64> = self.0.iter().map(|round| value(&round.heal)).collect();
            values.sort_by(f64::total_cmp);
            let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
            let _ = writeln!(table, "{what:34}{:10.1}{:10.1}{:10.1}", at(0.5), at(0.99), at(1.0));
        };
        row("unprotected, ms", &|heal| heal.unprotected_ms);
        row("seed, ms", &|heal| heal.seed.total_ms);
        row("stop, ms", &|heal| heal.seed.stop.total_ms);
        row("pages that differed", &|heal| heal.pages as f64);
        row("pages sent at the stop", &|heal| heal.seed.stop.pages as f64);
        row("sent before the stop, KiB", &|heal| heal.seed.sent_bytes as f64 / 1024.0);
        row("longest wait for Redis around it, s", &|heal| verdict.silence_s(heal.moment));
        self.footprints(&mut table);
        table
    }

    /// What both sides had first and last.
    fn footprints(&self, table: &mut String) {
        let (Some(first), Some(last)) = (self.0.first(), self.0.last()) else { return };
        let _ = writeln!(table, "{:34}{:>20}{:>20}", "first → last", NAMES[0], NAMES[1]);
        let mut row = |what: &str, value: fn(&Footprint) -> u64| {
            let cell = |side: usize| format!("{} → {}", value(&first.sides[side]), value(&last.sides[side]));
            let _ = writeln!(table, "{what:34}{:>20}{:>20}", cell(0), cell(1));
        };
        row("descriptors", |it| it.descriptors);
        row("threads", |it| it.threads);
        row("own memory, KiB", |it| it.own_kib);
        row("of the guest's RAM, KiB", |it| it.guest_kib);
    }
}
