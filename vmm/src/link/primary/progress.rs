//! What is known of a seed, under way and done.

use machine::memory::PAGE_SIZE;
use protocol::seeding::Progress;

use crate::{
    control::{SeedReport, SeedingReport, StopReport},
    host::clock::boot_ns,
};

/// Of one seed.
pub struct SeedProgress {
    begun_ns: u64,
    latest: Option<Progress>,
    stop: Option<(StopReport, u64)>,
}

impl SeedProgress {
    /// Memory is begun with.
    pub fn begin() -> Self {
        Self { begun_ns: boot_ns(), latest: None, stop: None }
    }

    /// How far it is.
    pub fn learn(&mut self, progress: Progress) {
        self.latest = Some(progress);
    }

    /// The guest runs on after its stop.
    pub fn stopped(&mut self, stop: StopReport) {
        self.stop = Some((stop, boot_ns()));
    }

    /// For people, while it is under way.
    pub fn report(&self) -> Option<SeedingReport> {
        let Progress { round, sent_bytes, pages, left_pages, left_ns, degree } = self.latest?;
        Some(SeedingReport {
            round,
            sent_bytes,
            total_bytes: pages * PAGE_SIZE as u64,
            left_bytes: left_pages * PAGE_SIZE as u64,
            left_ms: left_ns.map(|ns| ns as f64 / 1e6),
            slowed_percent: degree.percent(),
        })
    }

    /// The secondary holds all. Before, the VM had been unprotected for so long, if it was protected ever.
    pub fn held(self, unprotected_ms: Option<f64>) -> Option<SeedReport> {
        let (stop, ran_on_ns) = self.stop?;
        let (now_ns, latest) = (boot_ns(), self.latest);
        Some(SeedReport {
            rounds: latest.map_or(0, |latest| latest.round),
            sent_bytes: latest.map_or(0, |latest| latest.sent_bytes),
            total_ms: (now_ns - self.begun_ns) as f64 / 1e6,
            slowed_percent: latest.map_or(0, |latest| latest.degree.percent()),
            stop,
            held_ms: (now_ns - ran_on_ns) as f64 / 1e6,
            unprotected_ms,
        })
    }
}
