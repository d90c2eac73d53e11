//! What `status` tells of a secondary.

use protocol::secondary::{Phase, follower::Follower};

use crate::{
    control::{Board, State},
    disk::Disks,
    identity::VmIdentity,
    link::rate::Rate,
};

use super::peer::Peer;

/// How often the status of a secondary that follows is written, ns.
const REPORT_NS: u64 = 10_000_000;

/// Writes the status.
#[derive(Default)]
pub struct Reporter {
    rate: Rate,
    reported_ns: u64,
}

impl Reporter {
    /// Writes it, unless it was written just now and little can have changed.
    pub fn report(
        &mut self,
        board: &Board,
        follower: &Follower,
        identity: &VmIdentity,
        disks: &Disks,
        peer: &Peer,
        now_ns: u64,
    ) {
        let role = follower.role();
        if now_ns - self.reported_ns < REPORT_NS && role.phase() == Phase::Following {
            return;
        }
        self.reported_ns = now_ns;
        let rate = self.rate.per_second(now_ns, follower.log_bytes());
        board.update(|status| {
            status.state = match role.phase() {
                Phase::Seeding => State::Seeding,
                Phase::Following => State::Following,
                Phase::Draining => State::Draining,
                Phase::Arbitrating | Phase::Live => State::Arbitrating,
                Phase::Discarded => State::Listening,
            };
            status.name = Some(identity.shape.name.clone());
            status.vm = Some(identity.vm.to_string());
            status.generation = role.generation().0;
            status.position = role.executed_through().0;
            status.guest_time_ms = follower.executed_time_ns() as f64 / 1e6;
            status.peer = peer.address();
            status.lag_records = follower.lag_records();
            status.disks = disks.report();
            status.log_bytes = follower.log_bytes();
            status.log_bytes_per_s = rate;
        });
    }
}
