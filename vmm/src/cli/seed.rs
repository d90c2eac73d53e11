//! Seeds in words.

use crate::control::{SeedReport, SeedingReport};

/// How far a seed is, in words.
pub fn describe_seeding(seeding: &SeedingReport) -> String {
    let SeedingReport { round, sent_bytes, left_bytes, left_ms, slowed_percent, .. } = seeding;
    let left = left_ms.map_or_else(String::new, |ms| format!(", about {:.1} s", ms / 1e3));
    let slowed = match slowed_percent {
        0 => String::new(),
        percent => format!("; the guest writes more than is carried and stands for {percent} % of the time"),
    };
    format!(
        "round {round}, {:.1} MiB sent, {:.1} MiB to look at{left}{slowed}",
        mib(*sent_bytes),
        mib(*left_bytes)
    )
}

/// What a seed took, in words.
pub fn describe_seed(seed: &SeedReport) -> String {
    let SeedReport { rounds, sent_bytes, total_ms, slowed_percent, stop, held_ms, unprotected_ms } = seed;
    let slowed = match slowed_percent {
        0 => String::new(),
        percent => format!(", in which the guest was slowed by up to {percent} %"),
    };
    let unprotected = unprotected_ms
        .map_or_else(String::new, |ms| format!("; unprotected before it for {:.3} s", ms / 1e3));
    format!(
        "{:.1} MiB in {:.1} s and {rounds} rounds{slowed}; the guest stood for {:.1} ms (disks {:.1}, blocks {:.1}, {} pages {:.1}, \
         vCPU and devices {:.1}), what it said next was held for {held_ms:.1} ms{unprotected}",
        mib(*sent_bytes),
        total_ms / 1e3,
        stop.total_ms,
        stop.disks_ms,
        stop.blocks_ms,
        stop.pages,
        stop.pages_ms,
        stop.state_ms,
    )
}

/// In MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
