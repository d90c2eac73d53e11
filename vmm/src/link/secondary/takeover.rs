//! The vCPU thread of a secondary that becomes the VM.

use std::sync::PoisonError;

use ftlog::{Generation, Position};
use machine::Machine;
use protocol::{Recovery, fence::takeover_wait_ns};

use super::{
    Served,
    replica::{Replica, SessionEnd},
};
use crate::{
    control::Takeover,
    host::{announce::announce, clock::monotonic_ns},
};

impl Replica<'_> {
    /// From here on this side is the VM: it hears and speaks for itself.
    pub(super) fn go_live(
        &mut self,
        generation: Generation,
        from: Position,
        recovery: Option<Recovery>,
        loss: String,
    ) -> Option<SessionEnd> {
        let machine = self.machine.take()?;
        assert_eq!(machine.position(), from, "the machine stands where the log ends");
        self.site.inbox.clear();
        if let (Some(tap), Some(addresses)) = (&self.site.outlets.tap, &self.addresses) {
            // The thread that reads from it says so, and looks for it again.
            if let Err(error) = tap.discard_waiting(machine.platform().net().map_or(0, |net| net.mtu)) {
                tracing::warn!(%error, "the guest is cut off from its network here");
            }
            announce(tap, addresses);
        }
        self.take_disks_over(&machine, recovery);
        let again = self.unreleased.lock().unwrap_or_else(PoisonError::into_inner).take();
        again.into_iter().for_each(|output| self.site.outlets.emit(output));
        let live_ns = monotonic_ns();
        self.tell_takeover(generation, recovery, loss, live_ns);
        let identity = self.identity.clone();
        Some(SessionEnd::Served(Served::TookOver {
            machine: Box::new(machine),
            identity,
            generation,
            live_ns,
        }))
    }

    fn tell_takeover(
        &self,
        generation: Generation,
        recovery: Option<Recovery>,
        reason: String,
        live_ns: u64,
    ) {
        let Some(recovery) = recovery else { return };
        let drained_ns = recovery.drained_ns.unwrap_or(recovery.detected_ns);
        let won_ns = recovery.won_ns.unwrap_or(drained_ns);
        let ms = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e6;
        let takeover = Takeover {
            reason,
            generation: generation.0,
            detection_ms: ms(recovery.heard_ns, recovery.detected_ns),
            drain_ms: ms(recovery.detected_ns, drained_ns),
            arbitration_ms: ms(drained_ns, won_ns),
            resume_ms: ms(won_ns, live_ns),
            first_output_ms: None,
            total_ms: ms(recovery.heard_ns, live_ns),
        };
        self.site.board.notice(format!(
            "taking over: live {:.1} ms after the primary was last heard",
            takeover.total_ms
        ));
        self.site.board.update(|status| status.takeover = Some(takeover));
    }

    /// Requests without an answer in the log: what this side's files were given of them is done, and now all of them
    /// are given to them again.
    fn take_disks_over(&self, machine: &Machine, recovery: Option<Recovery>) {
        let outlets = &self.site.outlets;
        let heard_ns = recovery.map_or_else(monotonic_ns, |recovery| recovery.heard_ns);
        outlets.disks.go_live(heard_ns.saturating_add(takeover_wait_ns(self.lease_ns)));
        let mut outputs = Vec::new();
        machine.reissue_disk_requests(&mut outputs);
        outlets.emit_all(&[], &mut outputs);
    }
}
