//! A quantity that was measured many times.

use serde::Serialize;

use crate::numbers::quantile;

/// Half of the values are at most the one, 99 of 100 at most the other, µs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The median, µs.
    pub p50: f64,
    /// The 99th percentile, µs.
    pub p99: f64,
}

impl Spread {
    /// That of times in ns.
    pub fn of(ns: impl Iterator<Item = u64>) -> Self {
        let us: Vec<f64> = ns.map(|ns| ns as f64 / 1e3).collect();
        Self { p50: quantile(us.iter().copied(), 0.5), p99: quantile(us, 0.99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_become_microseconds() {
        assert_eq!(Spread::of((1..=100).map(|n| n * 1_000)), Spread { p50: 50.0, p99: 99.0 });
    }
}
