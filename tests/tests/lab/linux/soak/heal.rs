//! How a difference was healed, by the primary's status.

use std::time::Duration;

use anyhow::{Context, ensure};
use ftvmm::control::{SeedReport, Status};

/// What the primary says when the secondary has diverged, before the position.
const DIVERGED: &str = "the secondary diverged at #";
/// What it says of the seed that follows, after the number.
const DIFFERED: &str = " pages of the secondary's memory differed";
/// A seed that is at most this part of the guest's memory has what differs and not all.
const PART: u64 = 4;

/// A difference that was found out and healed.
#[derive(Debug)]
pub struct Heal {
    /// Where it was.
    pub place: &'static str,
    /// When it was made, since the clients were started.
    pub moment: Duration,
    /// Divergences before it that nobody had made.
    pub unmade: Vec<u64>,
    /// The position at which both sides differed.
    pub position: u64,
    /// Pages that differed when the secondary was seeded again.
    pub pages: u64,
    /// The seed.
    pub seed: SeedReport,
    /// How long the VM was unprotected, ms.
    pub unprotected_ms: f64,
}

impl Heal {
    /// What the status tells of it: `before` the difference was made, and `after` the VM was protected again.
    ///
    /// # Errors
    /// What it does not tell, and that more was sent than had to be.
    pub fn of(
        place: &'static str,
        moment: Duration,
        unmade: Vec<u64>,
        before: &Status,
        after: &Status,
        guest_kib: u64,
    ) -> anyhow::Result<Self> {
        let position = last(after, position_of).context("no divergence is told")?;
        ensure!(last(before, position_of).is_none_or(|earlier| earlier < position), "it is not a new one");
        let pages = last(after, pages_of).context("it is not told what differed")?;
        let seed = after.seed.clone().context("it does not tell of the seed")?;
        let unprotected_ms =
            seed.unprotected_ms.context("it does not tell for how long it was unprotected")?;
        ensure!(unprotected_ms >= seed.total_ms, "unprotected for a shorter time than its seed took");
        let most = guest_kib / PART;
        ensure!(
            pages * 4 <= most && seed.sent_bytes >> 10 <= most,
            "not just what differs of {guest_kib} KiB"
        );
        Ok(Self { place, moment, unmade, position, pages, seed, unprotected_ms })
    }
}

/// Divergences after the one that was `found` last.
pub fn unmade(status: &Status, found: Option<u64>) -> Vec<u64> {
    let all = status.events.iter().filter_map(|event| position_of(&event.text));
    all.filter(|position| found.is_none_or(|found| *position > found)).collect()
}

/// The last event that says so.
fn last(status: &Status, number: fn(&str) -> Option<u64>) -> Option<u64> {
    status.events.iter().rev().find_map(|event| number(&event.text))
}

fn position_of(text: &str) -> Option<u64> {
    text.strip_prefix(DIVERGED)?.split(':').next()?.parse().ok()
}

fn pages_of(text: &str) -> Option<u64> {
    text.split_once(DIFFERED)?.0.parse().ok()
}
