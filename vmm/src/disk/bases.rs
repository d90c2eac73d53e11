//! When the copies of a pair get a new base: at positions that both sides know from the log alone.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use ftlog::{Generation, Position, VmId};

use super::BaseId;

/// The first one comes this long after the seed, in virtual time, ns: when the seed is likely to have arrived.
const FIRST_NS: u64 = 1_000_000_000;
/// The next ones follow after this time or longer, ns. What was written in it is what has to be compared again at least.
const EVERY_NS: u64 = 30_000_000_000;
/// Never.
const NEVER: u64 = u64::MAX;

/// When the next base is due.
#[derive(Debug)]
pub struct Bases {
    of: Mutex<(VmId, Generation)>,
    next_ns: AtomicU64,
    /// Something was asked of the disks since the last one.
    wanted: AtomicBool,
}

impl Default for Bases {
    fn default() -> Self {
        Self {
            of: Mutex::new((VmId([0; 16]), Generation(0))),
            next_ns: AtomicU64::new(NEVER),
            wanted: AtomicBool::new(false),
        }
    }
}

impl Bases {
    /// The copies are equal at the virtual time `time_ns`, and the side that holds this generation is followed from
    /// there on.
    pub fn begin(&self, vm: VmId, generation: Generation, time_ns: u64) {
        *self.lock() = (vm, generation);
        self.wanted.store(true, Ordering::Release);
        self.next_ns.store(time_ns.saturating_add(FIRST_NS), Ordering::Release);
    }

    /// The copies are not kept equal any more.
    pub fn end(&self) {
        self.next_ns.store(NEVER, Ordering::Release);
    }

    /// A disk was asked to change.
    pub fn want(&self) {
        self.wanted.store(true, Ordering::Release);
    }

    /// Whether `position` is to be a base, at this virtual time.
    pub fn due(&self, position: Position, time_ns: u64) -> Option<BaseId> {
        let next_ns = self.next_ns.load(Ordering::Acquire);
        if time_ns < next_ns {
            return None;
        }
        let after_ns = time_ns.saturating_add(EVERY_NS);
        // Another thread may have ended it.
        let due = self.next_ns.compare_exchange(next_ns, after_ns, Ordering::AcqRel, Ordering::Acquire);
        let (vm, generation) = *self.lock();
        let wanted = due.is_ok() && self.wanted.swap(false, Ordering::AcqRel);
        wanted.then_some(BaseId { vm, generation, position })
    }

    fn lock(&self) -> MutexGuard<'_, (VmId, Generation)> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: VmId = VmId([7; 16]);

    #[test]
    fn both_sides_find_the_same_positions() {
        let (one, two) = (Bases::default(), Bases::default());
        one.begin(VM, Generation(3), 500);
        two.begin(VM, Generation(3), 500);
        let mut found = Vec::new();
        for step in 0..200_u64 {
            let (position, time_ns) = (Position(step), 500 + step * FIRST_NS);
            if step == 20 {
                [&one, &two].into_iter().for_each(Bases::want);
            }
            let ours = one.due(position, time_ns);
            assert_eq!(ours, two.due(position, time_ns));
            found.extend(ours.map(|base| base.position.0));
        }
        // The first, and one for what was asked since; nothing more was.
        assert_eq!(found, [1, 31]);
    }

    #[test]
    fn there_is_none_before_the_copies_are_equal_nor_after() {
        let bases = Bases::default();
        bases.want();
        assert_eq!(bases.due(Position(1), NEVER - 1), None);
        bases.begin(VM, Generation(1), 0);
        bases.end();
        assert_eq!(bases.due(Position(2), NEVER - 1), None);
    }
}
