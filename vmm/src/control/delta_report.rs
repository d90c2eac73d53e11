//! What `status` tells of a guest that computes.

use serde::{Deserialize, Serialize};

/// How often the guest was stopped where it was, because something had waited for it longer than `--patience`, and what that
/// took, since protection began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeltaReport {
    /// How often.
    pub count: u64,
    /// Pages sent for it.
    pub pages: u64,
    /// Bytes sent for it.
    pub bytes: u64,
    /// For how long the guest stood, ms: half of the times at most this long.
    pub stop_p50_ms: f64,
    /// 99 of 100 times at most this long.
    pub stop_p99_ms: f64,
    /// For how long something had waited for the guest by then, ms: half of the times at most this long.
    pub waited_p50_ms: f64,
    /// 99 of 100 times at most this long.
    pub waited_p99_ms: f64,
    /// The longest.
    pub waited_most_ms: f64,
    /// How often the secondary was asked first what its memory holds.
    pub asked: u64,
}
