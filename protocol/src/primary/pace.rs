//! Flow control: how fast the vCPU may run, given what waits.

use core::fmt;

use serde::Serialize;

use crate::Config;

/// How fast the vCPU may run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// As fast as it can.
    #[default]
    Full,
    /// With pauses, so that the secondary can catch up.
    Slow,
    /// Not at all, and what is recorded but not yet sent must be sent: only the peer's progress ends this.
    Stopped,
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Slow => "slow",
            Self::Stopped => "stopped",
        })
    }
}

/// What waits for the secondary.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Load {
    /// Age of the oldest record not executed, in ns.
    pub(super) age_ns: u64,
    /// Log recorded and not executed, in bytes.
    pub(super) log_bytes: u64,
    /// What the secondary can hold of it, in bytes.
    pub(super) window_bytes: u64,
    /// Outputs the gate holds.
    pub(super) held_outputs: u64,
    /// Their bytes.
    pub(super) held_bytes: u64,
}

/// The smallest window flow control can work with, in bytes.
pub(super) const fn least_window_bytes(config: &Config) -> u64 {
    config.batch_bytes.saturating_mul(4)
}

/// The pace after `before` under `load`.
///
/// Slower at the limits, faster only at half of them, so that it does not flap. Two batches of the window stay in
/// reserve: one that is under way when the vCPU is stopped, and one that the stop itself flushes.
pub(super) fn next(before: Pace, load: &Load, config: &Config) -> Pace {
    let reserve_bytes = config.batch_bytes.saturating_mul(2);
    let full = load.log_bytes.saturating_add(reserve_bytes) > load.window_bytes
        || load.held_outputs >= config.held_outputs
        || load.held_bytes >= config.held_bytes;
    let eased = load.log_bytes <= load.window_bytes / 2
        && load.held_outputs <= config.held_outputs / 2
        && load.held_bytes <= config.held_bytes / 2;
    let stop_ns = config.max_lag_ns.saturating_mul(2);

    if full || load.age_ns > stop_ns {
        return Pace::Stopped;
    }
    if before == Pace::Stopped && !(eased && load.age_ns <= config.max_lag_ns) {
        return Pace::Stopped;
    }
    let slow_ns = if before == Pace::Full { config.max_lag_ns } else { config.max_lag_ns / 2 };
    if load.age_ns > slow_ns { Pace::Slow } else { Pace::Full }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config { max_lag_ns: 1000, batch_bytes: 10, held_outputs: 8, held_bytes: 800, ..Config::default() }
    }

    fn aged(age_ns: u64) -> Load {
        Load { age_ns, window_bytes: 100, ..Load::default() }
    }

    #[test]
    fn age_slows_then_stops_and_lets_go_at_half() {
        let walk = [
            (1000, Pace::Full),
            (1001, Pace::Slow),
            (2000, Pace::Slow),
            (2001, Pace::Stopped),
            (1001, Pace::Stopped),
            (1000, Pace::Slow),
            (501, Pace::Slow),
            (500, Pace::Full),
            (900, Pace::Full),
        ];
        let mut pace = Pace::Full;
        for (age_ns, expected) in walk {
            pace = next(pace, &aged(age_ns), &config());
            assert_eq!(pace, expected, "at age {age_ns}");
        }
    }

    #[test]
    fn the_window_keeps_two_batches_in_reserve() {
        let load = |log_bytes| Load { log_bytes, ..aged(0) };
        assert_eq!(next(Pace::Full, &load(80), &config()), Pace::Full);
        assert_eq!(next(Pace::Full, &load(81), &config()), Pace::Stopped);
        assert_eq!(next(Pace::Stopped, &load(51), &config()), Pace::Stopped);
        assert_eq!(next(Pace::Stopped, &load(50), &config()), Pace::Full);
        assert_eq!(next(Pace::Full, &load(u64::MAX), &config()), Pace::Stopped);
    }

    #[test]
    fn held_output_stops_by_count_and_by_bytes() {
        let by_count = |held_outputs| Load { held_outputs, ..aged(0) };
        let by_bytes = |held_bytes| Load { held_bytes, ..aged(0) };
        for (reached, half) in [(by_count(8), by_count(4)), (by_bytes(800), by_bytes(400))] {
            assert_eq!(next(Pace::Full, &reached, &config()), Pace::Stopped);
            assert_eq!(next(Pace::Stopped, &half, &config()), Pace::Full);
        }
        assert_eq!(next(Pace::Stopped, &by_count(5), &config()), Pace::Stopped);
        assert_eq!(next(Pace::Stopped, &by_bytes(401), &config()), Pace::Stopped);
    }

    #[test]
    fn every_stop_can_end() {
        let config = config();
        let window_bytes = least_window_bytes(&config);
        let stopped = Load { log_bytes: window_bytes, age_ns: 5000, window_bytes, ..Load::default() };
        let drained = Load { window_bytes, ..Load::default() };
        assert_eq!(next(Pace::Full, &stopped, &config), Pace::Stopped);
        assert_eq!(next(Pace::Stopped, &drained, &config), Pace::Full);
    }
}
