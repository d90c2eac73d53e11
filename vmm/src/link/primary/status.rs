//! What `status` tells of a primary.

use protocol::primary::Phase;

use super::thread::LinkThread;
use crate::{
    control::{CommitDelay, State},
    host::clock::monotonic_ns,
};

/// How often a protected VM's status is written, ns.
const REPORT_NS: u64 = 10_000_000;

impl LinkThread {
    /// Writes what `status` reads.
    pub(super) fn report(&mut self) {
        let now_ns = monotonic_ns();
        let phase = self.core.phase();
        if phase == Phase::Protected && self.protected_noted != Some(self.core.generation()) {
            self.protected_noted = Some(self.core.generation());
            self.site.put_aside();
            self.site.board.update(|status| status.last_loss = None);
            self.site.board.notice("protected: the secondary holds the VM's state and follows");
        }
        if phase != Phase::Protected {
            self.protected_noted = None;
        }
        if !self.report_due(now_ns) {
            return;
        }
        let rate = self.rate.per_second(now_ns, self.log_bytes);
        let delay = CommitDelay {
            p50: self.commit_delay.value_at_quantile(0.5) as f64 / 1e3,
            p99: self.commit_delay.value_at_quantile(0.99) as f64 / 1e3,
            count: self.commit_delay.len(),
        };
        let executed = self.core.executed().unwrap_or(self.recorded);
        let (lag_ns, counts) = (self.core.lag_ns(now_ns), self.tally.now());
        if phase == Phase::Protected {
            self.lags.saturating_record(lag_ns / 1000);
        }
        let lags = self.lags.iter_recorded();
        let lags = lags.map(|lag| (lag.value_iterated_to() as f64 / 1e3, lag.count_at_value())).collect();
        self.site.board.tell_devices(self.site.outlets.tap.as_deref(), &counts);
        self.site.board.update(|status| {
            status.state = if self.halted { State::Halted } else { state_of(phase) };
            status.generation = self.core.generation().0;
            status.position = self.recorded.0;
            status.guest_time_ms = self.time_ns as f64 / 1e6;
            status.peer = self.connector.peer().map(str::to_owned);
            status.lag_ms = lag_ns as f64 / 1e6;
            status.lag_records = self.recorded.0.saturating_sub(executed.0);
            status.lag_counts = lags;
            status.log_bytes = self.log_bytes;
            status.log_bytes_per_s = rate;
            status.exits = counts.exits;
            status.inputs = counts.events;
            status.resets = counts.resets;
            status.commit_delay_us = delay;
            status.disks = self.site.outlets.disks.report();
            status.held_outputs = self.gate.outputs() as u64;
            status.pace = self.core.pace().to_string();
        });
    }

    /// True every few milliseconds: often enough for `status`, seldom enough to cost nothing.
    fn report_due(&mut self, now_ns: u64) -> bool {
        let due = now_ns - self.reported_ns >= REPORT_NS || self.core.phase() != Phase::Protected;
        if due {
            self.reported_ns = now_ns;
        }
        due
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
