//! Whether all is well again.

use protocol::primary::controller::Command;
use protocol::{primary, secondary};

use super::{RECOVERY_NS, World};
use crate::failure::Failure;
use crate::faults::MS;
use crate::host::Role;
use crate::input::Input;
use crate::shared::Action;

impl World {
    /// The operator does not leave the VM as it was after a turn-off, or since its secondary was distrusted.
    pub(super) fn protect_again(&mut self) {
        for host in &self.hosts {
            let Role::Primary(io) = &host.role else { continue };
            if io.core.peer().is_none() {
                let command = Command::Protect { to: "anybody".to_owned() };
                self.shared.later(host.name, 0..=0, Input::Command(command));
            }
        }
    }

    /// The hosts of primary and secondary, if that is what they are and nothing else is going on.
    pub(super) fn protected_pair(&self) -> Option<(usize, usize)> {
        let mut primary = None;
        let mut secondary = None;
        for (index, host) in self.hosts.iter().enumerate() {
            let before = match &host.role {
                Role::Idle if !host.paused => continue,
                // A side that is about to end is none to rely on.
                Role::Primary(io) if io.is_stopping() => return None,
                Role::Primary(io) if !host.paused && io.core.phase() == primary::Phase::Protected => {
                    primary.replace(index)
                }
                Role::Secondary(io) if !host.paused && io.core.phase() == secondary::Phase::Following => {
                    secondary.replace(index)
                }
                _ => return None,
            };
            if before.is_some() {
                return None;
            }
        }
        primary.zip(secondary)
    }

    /// After the last fault: asked now and then whether the run is over.
    pub(super) fn settled(&mut self) -> Result<bool, Failure> {
        let now_ns = self.shared.now_ns;
        let quiet_ns = now_ns - self.shared.profile.quiet_ns;
        let over = quiet_ns > 600 * MS && !self.shared.is_any_endless();
        if over && self.protected_pair().is_some() {
            return Ok(true);
        }
        let nobody = self.hosts.iter().all(|host| matches!(host.role, Role::Idle));
        if nobody && !self.shared.profile.single && !self.shared.vm_may_live() {
            self.shared.stats.vms_lost += 1;
            return Ok(true);
        }
        if quiet_ns <= RECOVERY_NS {
            self.protect_again();
            self.shared.schedule(now_ns + 100 * MS, Action::Settled);
            return Ok(false);
        }
        Err(Failure::liveness(format!("not protected at the end: {}", self.describe())))
    }

    pub(super) fn describe(&self) -> String {
        let roles = self.hosts.iter().map(|host| {
            let role = match &host.role {
                Role::Down => "down".to_owned(),
                Role::Idle => "idle".to_owned(),
                Role::Primary(io) => format!("primary, {}", io.core.phase()),
                Role::Secondary(io) => format!("secondary, {}", io.core.phase()),
            };
            format!("{}: {role}", host.name)
        });
        roles.collect::<Vec<_>>().join("; ")
    }
}
