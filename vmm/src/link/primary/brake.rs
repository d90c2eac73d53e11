//! Slows a guest whose memory is sent while it runs: it runs for a while, and then stands for longer.
//!
//! It need not come to a sync point for that: a timer interrupts it where it is, and there it stands. Nothing of it is in
//! the log, as the guest cannot tell.

use std::time::Duration;

use machine::KickTimer;
use protocol::seeding::Degree;

use super::{orders::Orders, outbox::Outbox};
use crate::host::clock::boot_ns;

/// Of one vCPU thread, which has to be the one that uses it.
#[derive(Default)]
pub struct Brake {
    timer: Option<KickTimer>,
    /// Since when the guest has run, ns of the host's clock, while it is slowed.
    since_ns: Option<u64>,
}

impl Brake {
    /// Stands if the guest has run for long enough. Due at each sync point, and whenever it was interrupted.
    ///
    /// # Errors
    /// The host has no timer for it.
    pub fn apply(&mut self, orders: &Orders, outbox: &Outbox) -> anyhow::Result<()> {
        let degree = orders.slowed();
        if degree == Degree::default() {
            if self.since_ns.take().is_some() {
                self.set_timer(Duration::ZERO)?;
            }
            return Ok(());
        }
        let slice_ns = degree.slice_ns();
        let ran_ns = self.since_ns.map(|since_ns| boot_ns() - since_ns);
        if ran_ns.is_some_and(|ran_ns| ran_ns < slice_ns) {
            return Ok(());
        }
        if let Some(ran_ns) = ran_ns {
            self.set_timer(Duration::ZERO)?;
            outbox.waiting(|| orders.stand(Duration::from_nanos(degree.stands_ns(ran_ns.min(slice_ns)))));
        }
        self.since_ns = Some(boot_ns());
        self.set_timer(Duration::from_nanos(slice_ns))
    }

    /// Interrupts the guest every so often; never, if it is zero.
    fn set_timer(&mut self, interval: Duration) -> anyhow::Result<()> {
        let timer = match self.timer.take() {
            Some(timer) => timer,
            None => KickTimer::on_time()?,
        };
        Ok(self.timer.insert(timer).set(interval)?)
    }
}
