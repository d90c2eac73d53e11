//! Writes to shared disks: held until the log behind them is safe, and carried out only while this side is the VM.

use std::collections::VecDeque;

use devices::DiskRequest;
use ftlog::Position;
use protocol::{
    commit::{Gate, Held},
    primary::Phase,
};

use super::thread::LinkThread;

/// Batches whose time is kept; of more than that the oldest are forgotten, which makes the lease shorter.
const MAX_BATCHES: usize = 1 << 16;

/// When log was sent to the secondary, to tell how old its acknowledgement may be.
#[derive(Default)]
pub struct Lease {
    sent: VecDeque<(Position, u64)>,
    /// A write waits for the secondary to be heard.
    wanted: bool,
}

impl Lease {
    /// Log up to `last` is sent at `now_ns`.
    pub fn sent(&mut self, last: Position, now_ns: u64) {
        if self.sent.len() == MAX_BATCHES {
            self.sent.pop_front();
        }
        self.sent.push_back((last, now_ns));
    }

    /// The secondary acknowledges log up to `through`: gives when the last of it was sent.
    pub fn acknowledged(&mut self, through: Position) -> Option<u64> {
        let mut sent_ns = None;
        while let Some((_, ns)) = self.sent.pop_front_if(|(last, _)| *last <= through) {
            sent_ns = Some(ns);
        }
        sent_ns
    }
}

impl LinkThread {
    /// Takes a write to a shared disk, as the gate does.
    pub(super) fn hold_write(&mut self, position: Position, now_ns: u64, request: DiskRequest) {
        // Never full: what the disks admit is bounded.
        if let Ok(Some(held)) = self.write_gate.put(position, 0, now_ns, request) {
            self.site.outlets.disks.perform(held.item);
        }
    }

    /// Carries out the writes that the gate lets leave.
    pub(super) fn let_writes_leave(
        &mut self,
        leave: impl FnOnce(&mut Gate<DiskRequest>, &mut Vec<Held<DiskRequest>>),
    ) {
        let mut left = Vec::new();
        leave(&mut self.write_gate, &mut left);
        left.into_iter().for_each(|held| self.site.outlets.disks.perform(held.item));
    }

    /// There is a secondary from now on, which may become the VM.
    pub(super) fn close_fence(&mut self) {
        self.lease = Lease::default();
        self.site.outlets.disks.fence().close();
    }

    /// No other side can become the VM.
    pub(super) fn open_fence(&mut self) {
        self.site.outlets.disks.fence().open();
        self.site.outlets.disks.look_at_fence();
    }

    /// The secondary has said that it follows, and holds the log up to `through`.
    pub(super) fn extend_lease(&mut self, through: Position) {
        let disks = &self.site.outlets.disks;
        if let Some(sent_ns) = self.lease.acknowledged(through) {
            disks.fence().extend(sent_ns.saturating_add(self.site.config.lease_ns()));
            let waits = std::mem::take(&mut self.lease.wanted);
            if disks.fence().take_wanted() || waits {
                disks.look_at_fence();
            }
        }
    }

    /// A write that came too late for the lease waits for the next acknowledgement. An idle guest makes no log to be
    /// acknowledged, so it is woken.
    pub(super) fn renew_lease(&mut self) {
        self.lease.wanted |= self.site.outlets.disks.fence().take_wanted();
        if self.lease.wanted {
            self.site.inbox.nudge();
        }
    }

    /// This side is not the VM any more.
    pub(super) fn shut_fence(&mut self) {
        self.write_gate.shut();
        self.site.outlets.disks.fence().shut();
        self.site.outlets.disks.look_at_fence();
    }

    /// Before the connection closes, at which a secondary takes over.
    pub(super) fn leave_disks(&mut self) {
        if self.core.phase() != Phase::Unprotected {
            self.shut_fence();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_as_old_as_the_log_that_it_is_for() {
        let mut lease = Lease::default();
        for (last, ns) in [(5, 100), (8, 200), (9, 300)] {
            lease.sent(Position(last), ns);
        }
        assert_eq!(lease.acknowledged(Position(4)), None);
        assert_eq!(lease.acknowledged(Position(8)), Some(200));
        assert_eq!(lease.acknowledged(Position(8)), None);
        assert_eq!(lease.acknowledged(Position(12)), Some(300));
    }

    #[test]
    fn times_that_are_forgotten_make_it_shorter() {
        let mut lease = Lease::default();
        for n in 0..MAX_BATCHES as u64 + 3 {
            lease.sent(Position(n), n);
        }
        assert_eq!(lease.acknowledged(Position(2)), None);
        assert_eq!(lease.acknowledged(Position(5)), Some(5));
    }
}
