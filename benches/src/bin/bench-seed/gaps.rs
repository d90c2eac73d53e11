//! How long nothing was heard of a side but bulk, and how much of that waited.

use std::time::Instant;

use ftlog::FrameKind;
use ftvmm_benches::numbers::quantile;
use ftvmm_tests::way::Heard;
use serde::Serialize;

/// Of many values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The largest.
    pub most: f64,
}

impl Quantiles {
    /// Those of these values; 0 of none.
    pub fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let share = |share| quantile(values.clone(), share);
        Self { p50: share(0.5), p99: share(0.99), most: share(1.0) }
    }
}

/// True of what there is much of in a seed.
pub fn is_bulk(kind: FrameKind) -> bool {
    matches!(
        kind,
        FrameKind::Begin
            | FrameKind::Pages
            | FrameKind::BootPages
            | FrameKind::State
            | FrameKind::DiskBlock
            | FrameKind::DiskRegions
            | FrameKind::DiskDigests
            | FrameKind::SeedRound
            | FrameKind::PageDigests
    )
}

/// The gaps, ms, from `from` to `to` between words that came out at this end (`there`) of the wire; what is cut off by the
/// beginning or the end of that time counts as well.
pub fn gaps(heard: &[Heard], there: bool, [from, to]: [Instant; 2]) -> Quantiles {
    let words = heard.iter().filter(|it| it.there == there && !is_bulk(it.kind)).map(|it| it.at);
    let mut times = vec![from];
    times.extend(words.filter(|at| (from..to).contains(at)));
    times.push(to);
    Quantiles::of(times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn bulk_is_no_word_and_the_other_direction_is_another_matter() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let heard = |ms, there, kind| Heard { at: at(ms), there, kind, bytes: 0 };
        let all = [
            heard(5, true, FrameKind::Heartbeat),
            heard(20, true, FrameKind::Heartbeat),
            heard(30, true, FrameKind::Pages),
            heard(40, false, FrameKind::Heartbeat),
            heard(60, true, FrameKind::Steps),
        ];
        let there = gaps(&all, true, [at(10), at(90)]);
        assert_eq!(there, Quantiles { p50: 30.0, p99: 40.0, most: 40.0 });
        let back = gaps(&all, false, [at(10), at(90)]);
        assert_eq!(back, Quantiles { p50: 30.0, p99: 50.0, most: 50.0 });
    }
}
