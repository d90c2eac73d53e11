//! With whom this side is a pair: looking for a secondary, having one, losing it, and leaving the VM to it.

use alloc::{borrow::ToOwned, format, string::String, vec::Vec};

use ftlog::{Condition, Health};

use super::{Attempt, Controller, Effect, Halt, Notice};
use crate::{
    LossReason,
    fence::LONGEST_LEASE_NS,
    primary::{Event as RoleEvent, Link, PeerEvent, Phase},
};

impl<O, W> Controller<O, W> {
    pub(super) fn seek(&mut self, effects: &mut Vec<Effect<O, W>>) {
        if self.role.phase() != Phase::Unprotected || self.operator.is_busy() || self.vcpu_ended_ns.is_some()
        {
            return;
        }
        if let Some((attempt, to)) = self.search.begin(self.now_ns) {
            // Whoever is told the longest lease waits as long as this side at most does.
            let waits_ns = self.writes_from_ns.saturating_sub(self.now_ns);
            let lease_ns = self.config.lease_ns().max(waits_ns).min(LONGEST_LEASE_NS);
            effects.push(Effect::Connect { attempt, to, generation: self.role.generation(), lease_ns });
        }
    }

    pub(super) fn connected(
        &mut self,
        attempt: Attempt,
        result: Result<u64, String>,
        effects: &mut Vec<Effect<O, W>>,
    ) {
        let wanted = self.search.ended(attempt) && self.role.phase() == Phase::Unprotected && !self.halted;
        match result {
            Ok(window_bytes) if wanted => {
                let link = Link(self.next_link);
                self.next_link += 1;
                effects.push(Effect::Tell(Notice::Paired { attempt }));
                effects.push(Effect::Adopt { attempt, link });
                self.tell_role(RoleEvent::Peer { link, event: PeerEvent::Ready { window_bytes } }, effects);
            }
            Ok(_) => effects.push(Effect::Reject { attempt }),
            Err(reason) if wanted => {
                self.search.failed(self.now_ns);
                effects.push(Effect::Tell(Notice::Lost(reason)));
            }
            Err(_) => {}
        }
    }

    pub(super) fn lose(&mut self, link: Link, reason: LossReason, effects: &mut Vec<Effect<O, W>>) {
        self.tell_role(RoleEvent::Peer { link, event: PeerEvent::Lost(reason) }, effects);
    }

    pub(super) fn dropped(&mut self, link: Link, reason: LossReason, effects: &mut Vec<Effect<O, W>>) {
        // Of the one the operator knows, of the other the reason was told before.
        if !matches!(reason, LossReason::Detached | LossReason::Unwanted) {
            effects.push(Effect::Tell(Notice::Lost(format!("the secondary is lost: {reason}"))));
        }
        match self.told_protected.take() {
            Some(_) => self.search.succeeded(),
            None if reason != LossReason::Detached => self.search.failed(self.now_ns),
            None => {}
        }
        effects.push(Effect::DropPeer { link, reason });
        self.peer_gone(effects);
        self.rest_if_distrusted(link, effects);
    }

    /// What comes next is the operator's to say, as after a suspend. One who has a command under way has said it.
    fn rest_if_distrusted(&mut self, link: Link, effects: &mut Vec<Effect<O, W>>) {
        let Some(times) = self.divergences.too_many(link).filter(|_| !self.operator.is_busy()) else {
            return;
        };
        let Some(peer) = self.search.peer().map(ToOwned::to_owned) else { return };
        self.search.look_at(None);
        self.operator.suspended = Some(peer.clone());
        effects.push(Effect::Tell(Notice::Distrusted { peer, times }));
    }

    /// That the VM is protected, and what is to be known of the secondary.
    pub(super) fn tell_protection(&mut self, effects: &mut Vec<Effect<O, W>>) {
        let protected = self.role.phase() == Phase::Protected && !self.halted;
        if protected && self.told_protected != Some(self.role.generation()) {
            self.told_protected = Some(self.role.generation());
            self.told_health = Health::default();
            effects.push(Effect::Tell(Notice::Protected));
        }
        let Some(Condition { health, .. }) = self.role.condition().filter(|_| protected) else { return };
        if health != self.told_health {
            self.told_health = health;
            effects.push(Effect::Tell(Notice::PeerHealth(health)));
        }
    }

    /// Stops the VM on this side for good.
    pub(super) fn halt(&mut self, reason: Halt, effects: &mut Vec<Effect<O, W>>) {
        if self.halted {
            return;
        }
        self.halted = true;
        self.shut_gates(effects);
        // At once and with nothing said, as a host does that is gone: whoever is there takes over.
        if let Some(link) = self.role.link() {
            effects.push(Effect::DropPeer { link, reason: LossReason::Detached });
        }
        self.give_up_commands("the VM does not run here any more", effects);
        effects.push(Effect::Halt(reason));
    }
}
