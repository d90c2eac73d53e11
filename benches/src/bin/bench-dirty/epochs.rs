//! Epochs: the guest writes some pages, and it is learnt which.

use std::time::Instant;

use anyhow::ensure;
use ftvmm_benches::numbers::median;

use crate::{account::Account, guest::Guest, way::Way};

/// Medians, µs.
pub struct Epochs {
    /// To write the pages, nobody looking.
    pub untracked_us: f64,
    /// To write them, each for the first time since it was learnt of.
    pub tracked_us: f64,
    /// To learn which they are, and have the next write of each noted.
    pub learnt_us: f64,
}

/// Epochs of a guest that writes `pages` pages in each.
pub fn measure(way: Way, pages: u64, epochs: u32, mib: u64) -> anyhow::Result<Epochs> {
    let mut guest = Guest::new(way, mib)?;
    guest.write(pages)?;
    let us = |guest: &mut Guest| guest.pass().map(|took| took.as_secs_f64() * 1e6);
    us(&mut guest)?;
    let untracked: Vec<f64> = (0..epochs).map(|_| us(&mut guest)).collect::<Result<_, _>>()?;
    guest.track(true)?;
    let mut account = Account::of(way, &guest)?;
    // At first all count as written, or none is known.
    us(&mut guest)?;
    account.learn(&guest)?;
    let (mut tracked, mut learnt) = (Vec::new(), Vec::new());
    for _ in 0..epochs {
        tracked.push(us(&mut guest)?);
        let begun = Instant::now();
        let found = account.learn(&guest)?;
        learnt.push(begun.elapsed().as_secs_f64() * 1e6);
        ensure!(found >= pages, "the guest has written {pages} pages, and KVM tells of {found}");
    }
    Ok(Epochs { untracked_us: median(untracked), tracked_us: median(tracked), learnt_us: median(learnt) })
}
