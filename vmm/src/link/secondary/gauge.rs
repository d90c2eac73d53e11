//! What is seen of this side: whether its threads move, and whether the guest could reach the world from here.

use protocol::secondary::follower::{Sample, Work};

use crate::host::{Outlets, checkup::Checkup, pulse::Pulse};

/// How often it is looked at, ns.
const INTERVAL_NS: u64 = 10_000_000;

/// Looks at this side now and then.
pub struct Gauge {
    outlets: Outlets,
    checkup: Checkup,
    /// Of the thread that executes.
    pulse: Pulse,
    next_ns: u64,
}

impl Gauge {
    /// `pulse` is that of the thread that executes.
    pub fn new(outlets: Outlets, pulse: Pulse) -> Self {
        Self { outlets, checkup: Checkup::default(), pulse, next_ns: 0 }
    }

    /// What is seen now, if it is time to look. How the copies do, others know.
    pub fn look(&mut self, copies: Work, now_ns: u64) -> Option<Sample> {
        if now_ns < self.next_ns {
            return None;
        }
        self.next_ns = now_ns + INTERVAL_NS;
        let beat = self.pulse.beat();
        let vcpu = Work { busy: beat.busy, done: beat.progress };
        Some(Sample { vcpu, copies, health: self.checkup.health(&self.outlets, now_ns) })
    }
}
