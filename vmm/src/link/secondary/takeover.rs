//! A secondary becomes the VM.

use std::sync::{Mutex, PoisonError};

use devices::Output;
use machine::Machine;
use protocol::{Recovery, commit::Unreleased, fence::takeover_wait_ns};

use super::messages::GoLive;
use crate::{
    control::Takeover,
    host::{
        announce::{Addresses, announce},
        clock::boot_ns,
    },
    link::Site,
};

/// From here on this side is the VM: it hears and speaks for itself, beginning with what the primary may not have let
/// out. Gives when that was, and from when on it writes shared disks, ns of the host's clock.
pub fn take_over(
    site: &Site,
    machine: &Machine,
    addresses: Option<&Addresses>,
    unreleased: &Mutex<Unreleased<Output>>,
    how: &GoLive,
) -> (u64, u64) {
    assert_eq!(machine.position(), how.from, "the machine stands where the log ends");
    site.inbox.clear();
    if let (Some(tap), Some(addresses)) = (&site.outlets.tap, addresses) {
        // The thread that reads from it says so, and looks for it again.
        if let Err(error) = tap.discard_waiting(machine.platform().net().map_or(0, |net| net.mtu)) {
            tracing::warn!(%error, "the guest is cut off from its network here");
        }
        announce(tap, addresses);
    }
    let writes_from_ns = take_disks_over(site, machine, how);
    let again = unreleased.lock().unwrap_or_else(PoisonError::into_inner).take();
    again.into_iter().for_each(|output| site.outlets.emit(output));
    let live_ns = boot_ns();
    if let Some(recovery) = how.recovery {
        tell(site, how, recovery, live_ns);
    }
    (live_ns, writes_from_ns)
}

fn tell(site: &Site, how: &GoLive, recovery: Recovery, live_ns: u64) {
    let drained_ns = recovery.drained_ns.unwrap_or(recovery.detected_ns);
    let won_ns = recovery.won_ns.unwrap_or(drained_ns);
    let ms = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e6;
    let takeover = Takeover {
        reason: how.loss.clone(),
        generation: how.generation.0,
        detection_ms: ms(recovery.heard_ns, recovery.detected_ns),
        drain_ms: ms(recovery.detected_ns, drained_ns),
        arbitration_ms: ms(drained_ns, won_ns),
        resume_ms: ms(won_ns, live_ns),
        first_output_ms: None,
        total_ms: ms(recovery.heard_ns, live_ns),
    };
    site.board
        .notice(format!("taking over: live {:.1} ms after the primary was last heard", takeover.total_ms));
    site.board.update(|status| status.takeover = Some(takeover));
}

/// Requests without an answer in the log: what this side's files were given of them is done, and now all of them are
/// given to them again. Gives from when on shared ones are written.
fn take_disks_over(site: &Site, machine: &Machine, how: &GoLive) -> u64 {
    let outlets = &site.outlets;
    let heard_ns = how.recovery.map_or_else(boot_ns, |recovery| recovery.heard_ns);
    let writes_from_ns = heard_ns.saturating_add(takeover_wait_ns(how.lease_ns));
    outlets.disks.go_live(writes_from_ns);
    let mut outputs = Vec::new();
    machine.reissue_disk_requests(&mut outputs);
    outlets.emit_all(&[], &mut outputs);
    writes_from_ns
}
