//! What is counted of the deltas of a guest that computes.

use hdrhistogram::Histogram;

use super::messages::Taken;
use crate::control::DeltaReport;

/// Since the secondary was seeded.
pub struct DeltaFigures {
    pages: u64,
    bytes: u64,
    asked: u64,
    /// For how long the guest stood, µs.
    stops: Histogram<u64>,
    /// For how long something had waited for it, µs.
    waits: Histogram<u64>,
}

impl DeltaFigures {
    /// Nothing is counted.
    pub fn new() -> Self {
        // Up to a minute, to two digits.
        let times = || Histogram::new_with_max(60_000_000, 2).expect("constant bounds are valid");
        Self { pages: 0, bytes: 0, asked: 0, stops: times(), waits: times() }
    }

    /// One was taken.
    pub fn taken(&mut self, Taken { delta, took_ns, waited }: &Taken) {
        self.pages += delta.page_count();
        self.bytes += delta.bytes();
        self.stops.saturating_record(took_ns / 1000);
        if let Some(waited) = waited {
            self.waits.saturating_record(waited.as_micros() as u64);
        }
    }

    /// The secondary is asked what its memory holds.
    pub fn asked(&mut self) {
        self.asked += 1;
    }

    /// For people.
    pub fn report(&self) -> DeltaReport {
        let at = |times: &Histogram<u64>, quantile| times.value_at_quantile(quantile) as f64 / 1e3;
        DeltaReport {
            count: self.stops.len(),
            pages: self.pages,
            bytes: self.bytes,
            stop_p50_ms: at(&self.stops, 0.5),
            stop_p99_ms: at(&self.stops, 0.99),
            waited_p50_ms: at(&self.waits, 0.5),
            waited_p99_ms: at(&self.waits, 0.99),
            waited_most_ms: at(&self.waits, 1.0),
            asked: self.asked,
        }
    }
}
