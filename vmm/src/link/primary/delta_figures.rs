//! What is counted of the deltas of a guest that computes.

use ftlog::Delta;
use hdrhistogram::Histogram;

use crate::control::DeltaReport;

/// Since the secondary was seeded.
pub struct DeltaFigures {
    pages: u64,
    bytes: u64,
    asked: u64,
    /// For how long the guest stood, µs.
    stops: Histogram<u64>,
}

impl DeltaFigures {
    /// Nothing is counted.
    pub fn new() -> Self {
        // Up to a minute, to two digits.
        let stops = Histogram::new_with_max(60_000_000, 2).expect("constant bounds are valid");
        Self { pages: 0, bytes: 0, asked: 0, stops }
    }

    /// One was taken, for which the guest stood so long.
    pub fn taken(&mut self, delta: &Delta, took_ns: u64) {
        self.pages += delta.page_count();
        self.bytes += delta.bytes();
        self.stops.saturating_record(took_ns / 1000);
    }

    /// The secondary is asked what its memory holds.
    pub fn asked(&mut self) {
        self.asked += 1;
    }

    /// For people.
    pub fn report(&self) -> DeltaReport {
        let at = |quantile| self.stops.value_at_quantile(quantile) as f64 / 1e3;
        DeltaReport {
            count: self.stops.len(),
            pages: self.pages,
            bytes: self.bytes,
            stop_p50_ms: at(0.5),
            stop_p99_ms: at(0.99),
            asked: self.asked,
        }
    }
}
