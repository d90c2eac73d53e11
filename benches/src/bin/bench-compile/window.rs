//! What happened between two looks at a monitor's status.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use ftvmm::control::Status;
use machine::EventCount;
use serde::Serialize;

/// A stretch of a guest's life.
#[derive(Debug, Clone, Serialize)]
pub struct Window {
    /// Its length by the guest's clock, s.
    pub seconds: f64,
    /// Exits by kind.
    pub exits: BTreeMap<String, u64>,
    /// What the guest was told, by kind.
    pub inputs: BTreeMap<String, EventCount>,
    /// Bytes of log; none without a log.
    pub log_bytes: Option<u64>,
    /// How old the oldest record that was not executed was: half of the times it was looked at, and 99 of 100, at most
    /// this, ms. None without a secondary.
    pub lag_ms: Option<[f64; 2]>,
}

impl Window {
    /// What came between `before` and `after`, which took the guest `seconds`.
    pub fn between(before: &Status, after: &Status, seconds: f64) -> anyhow::Result<Self> {
        let is_later = before.log_bytes <= after.log_bytes && before.exits.total() <= after.exits.total();
        ensure!(is_later, "the monitor or its secondary began anew meanwhile");
        let exits = pairs(&before.exits, &after.exits)?;
        let less = u64::saturating_sub;
        let exits = exits
            .into_iter()
            .map(|(kind, [before, after]): (_, [u64; 2])| (kind, less(after, before)))
            .collect();
        let inputs = pairs(&before.inputs, &after.inputs)?;
        let more = |[before, after]: [EventCount; 2]| EventCount {
            count: less(after.count, before.count),
            bytes: less(after.bytes, before.bytes),
        };
        let inputs = inputs.into_iter().map(|(kind, both)| (kind, more(both))).collect();
        let log_bytes = (after.log_bytes > 0).then_some(after.log_bytes - before.log_bytes);
        let lags = lags_since(before, after);
        let lag_ms = (!lags.is_empty()).then(|| [0.5, 0.99].map(|share| quantile(&lags, share)));
        Ok(Self { seconds, exits, inputs, log_bytes, lag_ms })
    }

    /// Sync points per second.
    pub fn exits_per_s(&self) -> f64 {
        self.exits.values().sum::<u64>() as f64 / self.seconds
    }

    /// Events.
    pub fn events(&self) -> u64 {
        self.inputs.values().map(|of_kind| of_kind.count).sum()
    }

    /// Log per second of guest time, Mbit.
    pub fn log_mbit_per_s(&self) -> Option<f64> {
        Some(self.log_bytes? as f64 * 8e-6 / self.seconds)
    }

    /// The part of it that is data read from disks.
    pub fn read_mbit_per_s(&self) -> Option<f64> {
        self.log_bytes?;
        Some(self.inputs.get("disk")?.bytes as f64 * 8e-6 / self.seconds)
    }
}

/// The fields of two structs that count, by their names.
fn pairs<T: Serialize, N: serde::de::DeserializeOwned + Copy>(
    before: &T,
    after: &T,
) -> anyhow::Result<BTreeMap<String, [N; 2]>> {
    let fields = |counts: &T| -> anyhow::Result<BTreeMap<String, N>> {
        Ok(serde_json::from_value(serde_json::to_value(counts)?)?)
    };
    let (before, after) = (fields(before)?, fields(after)?);
    let pair = |(name, after): (String, N)| {
        let before = before.get(&name).with_context(|| format!("only one status has {name}"))?;
        Ok((name, [*before, after]))
    };
    after.into_iter().map(pair).collect()
}

/// How often each lag was found since `before`.
fn lags_since(before: &Status, after: &Status) -> Vec<(f64, u64)> {
    let earlier = |lag: f64| {
        let found = before.lag_counts.iter().find(|(value, _)| *value == lag);
        found.map_or(0, |(_, count)| *count)
    };
    let since = after.lag_counts.iter().map(|(lag, count)| (*lag, count.saturating_sub(earlier(*lag))));
    since.filter(|(_, count)| *count > 0).collect()
}

/// The value that a share of them do not exceed; `counts` is in order.
fn quantile(counts: &[(f64, u64)], share: f64) -> f64 {
    let wanted = counts.iter().map(|(_, count)| *count).sum::<u64>() as f64 * share;
    let mut passed = 0;
    let reaches = |(_, count): &&(f64, u64)| {
        passed += count;
        passed as f64 >= wanted
    };
    counts.iter().find(reaches).map_or(0.0, |(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use machine::{EventCounts, ExitCounts};

    use super::*;

    fn status(halts: u64, read: u64, log_bytes: u64, lags: &[(f64, u64)]) -> Status {
        Status {
            exits: ExitCounts { halt: halts, timer: 1, ..ExitCounts::default() },
            inputs: EventCounts { disk: EventCount { count: halts, bytes: read }, ..EventCounts::default() },
            log_bytes,
            lag_counts: lags.to_vec(),
            ..Status::default()
        }
    }

    #[test]
    fn only_what_came_in_between_counts() {
        let before = status(10, 1000, 5000, &[(1.0, 100), (50.0, 7)]);
        let after = status(14, 251_000, 505_000, &[(1.0, 198), (2.0, 2), (50.0, 7)]);
        let window = Window::between(&before, &after, 2.0).unwrap();
        assert_eq!(window.exits_per_s(), 2.0);
        assert_eq!(window.exits["halt"], 4);
        assert_eq!(window.events(), 4);
        assert_eq!((window.log_mbit_per_s(), window.read_mbit_per_s()), (Some(2.0), Some(1.0)));
        assert_eq!(window.lag_ms, Some([1.0, 2.0]));
        assert!(Window::between(&after, &before, 2.0).is_err(), "backwards");
    }

    #[test]
    fn what_was_not_there_is_not_told() {
        let window = Window::between(&status(0, 0, 0, &[]), &status(1, 512, 0, &[]), 1.0).unwrap();
        assert_eq!((window.log_mbit_per_s(), window.read_mbit_per_s(), window.lag_ms), (None, None, None));
    }
}
