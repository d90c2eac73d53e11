//! A count as a rate, for status.

/// How far apart two readings must be, ns.
const SPAN_NS: u64 = 1_000_000_000;

/// Remembers a count to tell how fast it grows.
#[derive(Default)]
pub struct Rate {
    since_ns: u64,
    count: u64,
    per_second: f64,
}

impl Rate {
    /// Growth per second over the last second or so, given the count now.
    pub fn per_second(&mut self, now_ns: u64, count: u64) -> f64 {
        let span_ns = now_ns.saturating_sub(self.since_ns);
        if span_ns >= SPAN_NS {
            self.per_second = count.saturating_sub(self.count) as f64 * 1e9 / span_ns as f64;
            *self = Self { since_ns: now_ns, count, per_second: self.per_second };
        }
        self.per_second
    }
}
