//! What ails a side's ways out, looked at now and then.

use ftlog::Health;

use super::Outlets;
use crate::disk::Vitals;

/// How often they are looked at, ns.
const INTERVAL_NS: u64 = 200_000_000;
/// A disk that has had something to do for so long and has answered nothing does not answer, ns.
const STALL_NS: u64 = 5_000_000_000;

/// The latest look.
#[derive(Default)]
pub struct Checkup {
    health: Health,
    looked_ns: Option<u64>,
    disks: Vec<Disk>,
}

/// What was seen of a disk.
#[derive(Clone, Copy, Default)]
struct Disk {
    vitals: Vitals,
    /// When it was last seen to answer, or to have had nothing to do.
    answered_ns: u64,
}

impl Checkup {
    /// What ails `outlets`. Cheap, as it looks a few times a second only.
    pub fn health(&mut self, outlets: &Outlets, now_ns: u64) -> Health {
        if self.looked_ns.is_none_or(|looked_ns| now_ns.saturating_sub(looked_ns) >= INTERVAL_NS) {
            self.looked_ns = Some(now_ns);
            let usable = outlets.tap.as_ref().is_none_or(|tap| tap.is_usable());
            self.health = if usable { Health::default() } else { Health::NETWORK };
            // A write that the fence holds back waits for the other side and not for the disk.
            let fenced = outlets.disks.fence().is_wanted();
            self.look_at_disks(&outlets.disks.vitals(), fenced, now_ns);
        }
        self.health
    }

    fn look_at_disks(&mut self, vitals: &[Vitals], fenced: bool, now_ns: u64) {
        self.disks.resize(vitals.len(), Disk { vitals: Vitals::default(), answered_ns: now_ns });
        for (disk, vitals) in self.disks.iter_mut().zip(vitals) {
            if vitals.errors > disk.vitals.errors {
                self.health = self.health.and(Health::DISK_FAILS);
            }
            let idle = vitals.pending == 0 || disk.vitals.pending == 0;
            if idle || vitals.answered != disk.vitals.answered || fenced {
                disk.answered_ns = now_ns;
            }
            if now_ns.saturating_sub(disk.answered_ns) > STALL_NS {
                self.health = self.health.and(Health::DISK_STALLS);
            }
            disk.vitals = *vitals;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_disk_that_fails_or_does_not_answer_is_not_well() {
        let mut checkup = Checkup::default();
        let mut look = |pending, answered, errors, fenced, s| {
            checkup.health = Health::default();
            checkup.look_at_disks(&[Vitals { pending, answered, errors }], fenced, s * S);
            checkup.health
        };
        assert!(look(0, 0, 0, false, 1).is_well());
        assert!(look(3, 0, 0, false, 100).is_well(), "it has just begun");
        assert!(look(3, 0, 0, false, 105).is_well());
        assert_eq!(look(3, 0, 0, false, 106), Health::DISK_STALLS);
        assert!(look(3, 1, 0, false, 107).is_well(), "slow, but it answers");
        assert!(look(3, 1, 0, true, 120).is_well(), "it may not write");
        assert_eq!(look(3, 2, 1, false, 121), Health::DISK_FAILS);
        assert!(look(3, 3, 1, false, 122).is_well(), "what was is no reason for ever");
    }
}
