//! What `status` tells of a seed.

use serde::{Deserialize, Serialize};

/// How far the memory of a guest that runs on is on its way to a secondary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedingReport {
    /// The round, from 1.
    pub round: u32,
    /// Bytes sent in all rounds.
    pub sent_bytes: u64,
    /// What this round began with, bytes of guest memory.
    pub total_bytes: u64,
    /// What it has still to look at of them.
    pub left_bytes: u64,
    /// How long this round is likely to take from now on, ms; unknown at its beginning.
    pub left_ms: Option<f64>,
    /// Which part of the time the guest stands because it writes more than is carried, in percent.
    pub slowed_percent: u32,
}

/// How long a guest stood for the rest of a seed, in parts. All in ms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StopReport {
    /// From when it was asked to until it stood. It ran meanwhile.
    pub asked_ms: f64,
    /// Until all that it had asked of its disks was done.
    pub disks_ms: f64,
    /// Then, for the last blocks of its disks.
    pub blocks_ms: f64,
    /// For the last pages of its memory.
    pub pages_ms: f64,
    /// For vCPU and devices.
    pub state_ms: f64,
    /// All the time that it stood.
    pub total_ms: f64,
    /// Pages sent at it.
    pub pages: u64,
}

/// The last seed that a secondary has had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedReport {
    /// Rounds before the stop.
    pub rounds: u32,
    /// Bytes sent in them.
    pub sent_bytes: u64,
    /// From when memory was begun with until the secondary held all, ms.
    pub total_ms: f64,
    /// Which part of the time the guest stood at last because it wrote more than was carried, in percent.
    pub slowed_percent: u32,
    /// The stop.
    pub stop: StopReport,
    /// From when the guest ran on until the secondary held all, ms: so long was held what it said meanwhile.
    pub held_ms: f64,
    /// For how long the VM had been unprotected by then, ms; none where it had not been protected before.
    pub unprotected_ms: Option<f64>,
}
