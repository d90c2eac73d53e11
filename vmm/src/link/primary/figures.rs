//! What is counted of a primary, and told in `status`.

use devices::{DiskRequest, Output};
use hdrhistogram::Histogram;
use protocol::primary::{Phase, controller::Controller};

use super::{delta_figures::DeltaFigures, progress::SeedProgress};
use crate::{
    control::{CommitDelay, State},
    host::clock::boot_ns,
    link::{Site, rate::Rate},
};

/// How often a protected VM's status is written, ns.
const REPORT_NS: u64 = 10_000_000;
/// Counted since the secondary was seeded.
pub struct Figures {
    pub log_bytes: u64,
    /// The seed that is under way.
    pub seed: Option<SeedProgress>,
    commit_delay: Histogram<u64>,
    lags: Histogram<u64>,
    pub deltas: DeltaFigures,
    rate: Rate,
    reported_ns: u64,
}

impl Figures {
    /// Nothing is counted.
    pub fn new() -> Self {
        Self {
            log_bytes: 0,
            seed: None,
            // Up to ten seconds, to three digits, ns.
            commit_delay: Histogram::new_with_max(10_000_000_000, 3).expect("constant bounds are valid"),
            // Up to an hour, to one digit, µs.
            lags: Histogram::new_with_max(3_600_000_000, 1).expect("constant bounds are valid"),
            deltas: DeltaFigures::new(),
            rate: Rate::default(),
            reported_ns: 0,
        }
    }

    /// A secondary is seeded: what is counted is of it.
    pub fn begin_again(&mut self) {
        self.log_bytes = 0;
        self.commit_delay.reset();
        self.lags.reset();
        self.deltas = DeltaFigures::new();
    }

    /// An output has waited so long for its secondary.
    pub fn committed(&mut self, waited_ns: u64) {
        self.commit_delay.saturating_record(waited_ns);
    }

    /// Writes what `status` reads, if it is time for it. `tally` are the machine's counts, `time_ns` is virtual time.
    pub fn report(
        &mut self,
        site: &Site,
        controller: &Controller<Output, DiskRequest>,
        tally: &machine::Tally,
        time_ns: u64,
    ) {
        let (now_ns, phase) = (boot_ns(), controller.phase());
        if now_ns - self.reported_ns < REPORT_NS && phase == Phase::Protected {
            return;
        }
        self.reported_ns = now_ns;
        let rate = self.rate.per_second(now_ns, self.log_bytes);
        let (lag_ns, counts) = (controller.lag_ns(now_ns), tally.now());
        if phase == Phase::Protected {
            self.lags.saturating_record(lag_ns / 1000);
        }
        let lags = self.lags.iter_recorded();
        let lags = lags.map(|lag| (lag.value_iterated_to() as f64 / 1e3, lag.count_at_value())).collect();
        let silent_ns = controller.silent_ns(now_ns);
        site.board.tell_devices(site.outlets.tap.as_deref(), &counts);
        site.board.update(|status| {
            let (recorded, executed) = (controller.recorded(), controller.executed());
            status.state = state_of(phase);
            status.generation = controller.generation().0;
            status.position = recorded.0;
            status.guest_time_ms = time_ns as f64 / 1e6;
            status.guest_silent_ms = silent_ns as f64 / 1e6;
            status.peer = controller.peer().map(str::to_owned);
            status.lag_ms = lag_ns as f64 / 1e6;
            status.lag_records = recorded.0.saturating_sub(executed.unwrap_or(recorded).0);
            status.lag_counts = lags;
            status.log_bytes = self.log_bytes;
            status.log_bytes_per_s = rate;
            status.exits = counts.exits;
            status.inputs = counts.events;
            status.resets = counts.resets;
            status.commit_delay_us = self.delay();
            status.deltas = self.deltas.report();
            status.disks = site.outlets.disks.report();
            status.held_outputs = controller.held_outputs();
            status.pace = controller.pace().to_string();
            status.seeding = self.seed.as_ref().and_then(SeedProgress::report);
        });
    }

    fn delay(&self) -> CommitDelay {
        CommitDelay {
            p50: self.commit_delay.value_at_quantile(0.5) as f64 / 1e3,
            p99: self.commit_delay.value_at_quantile(0.99) as f64 / 1e3,
            count: self.commit_delay.len(),
        }
    }
}

fn state_of(phase: Phase) -> State {
    match phase {
        Phase::Starting | Phase::Yielding => State::Starting,
        Phase::Unprotected => State::Unprotected,
        Phase::Seeding => State::Seeding,
        Phase::Protected => State::Protected,
        Phase::Detaching => State::Detaching,
        Phase::Arbitrating => State::Arbitrating,
        Phase::Halted => State::Halted,
    }
}
