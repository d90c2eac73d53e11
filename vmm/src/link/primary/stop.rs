//! How long the guest stood for a seed, in parts.

use crate::{control::StopReport, host::clock::boot_ns};

/// The parts of a stop that is under way.
pub struct StopParts {
    /// Pages of memory sent at it.
    pub pages: u64,
    report: StopReport,
    begun_ns: u64,
    since_ns: u64,
}

impl StopParts {
    /// The guest stands at a sync point; it was asked to at `asked_ns`.
    pub fn begin(asked_ns: u64) -> Self {
        let now_ns = boot_ns();
        let report = StopReport { asked_ms: ms(now_ns - asked_ns), ..StopReport::default() };
        Self { pages: 0, report, begun_ns: now_ns, since_ns: now_ns }
    }

    /// All that the guest has asked of its disks is done.
    pub fn disks_idle(&mut self) {
        self.report.disks_ms = self.lap();
    }

    /// The last blocks of the disks are handed over.
    pub fn blocks_sent(&mut self) {
        self.report.blocks_ms = self.lap();
    }

    /// The last pages are handed over.
    pub fn pages_sent(&mut self) {
        self.report.pages_ms = self.lap();
    }

    /// So is the state of vCPU and devices.
    pub fn state_sent(&mut self) {
        self.report.state_ms = self.lap();
    }

    /// The guest runs on.
    pub fn end(mut self) -> StopReport {
        self.report.pages = self.pages;
        self.report.total_ms = ms(boot_ns() - self.begun_ns);
        self.report
    }

    fn lap(&mut self) -> f64 {
        let now_ns = boot_ns();
        ms(now_ns - std::mem::replace(&mut self.since_ns, now_ns))
    }
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}
