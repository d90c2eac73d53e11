//! A side whose guest can reach nobody: whether the VM would be better off on the secondary.

use ftlog::Health;

/// For how long something has to ail this side before the VM is handed over, in ns: longer than it takes to make a
/// network device again.
const PATIENCE_NS: u64 = 2_000_000_000;

/// What a protected primary does whose guest can reach nobody.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnTrouble {
    /// It stops, and its secondary takes over, if nothing ails that.
    #[default]
    Handover,
    /// It runs on.
    Keep,
}

/// Since when something ails this side.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub(super) struct Outlets {
    health: Health,
    since_ns: Option<u64>,
}

impl Outlets {
    /// What ails this side now.
    pub(super) fn look(&mut self, health: Health, now_ns: u64) {
        self.health = health;
        if health.is_well() {
            self.since_ns = None;
        } else {
            self.since_ns.get_or_insert(now_ns);
        }
    }

    /// What ails this side.
    pub(super) fn health(&self) -> Health {
        self.health
    }

    /// What ails it, if the VM had better be where `peer` is said of the outlets.
    pub(super) fn hands_over(&self, peer: Health, now_ns: u64) -> Option<Health> {
        let since_ns = self.since_ns?;
        let long = now_ns.saturating_sub(since_ns) >= PATIENCE_NS;
        (long && peer.is_well()).then_some(self.health)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vm_goes_only_where_it_is_better_off_and_not_at_once() {
        let (well, gone) = (Health::default(), Health::NETWORK);
        let mut outlets = Outlets::default();
        outlets.look(gone, 5);
        assert_eq!(outlets.hands_over(well, 4 + PATIENCE_NS), None);
        assert_eq!(outlets.hands_over(well, 5 + PATIENCE_NS), Some(gone));
        assert_eq!(outlets.hands_over(Health::DISK_FAILS, u64::MAX), None, "the other is not well either");
        outlets.look(well, 6);
        assert_eq!(outlets.hands_over(well, u64::MAX), None);
        outlets.look(gone, 7);
        assert_eq!(outlets.hands_over(well, 6 + PATIENCE_NS), None, "it was well in between");
    }
}
