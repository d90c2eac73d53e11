//! Whose this side is: one primary's at a time, and the next one's as soon as nothing is left of the one before.

use std::{
    fmt,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use ftlog::{Generation, VmId};

/// Whoever has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupant {
    /// A primary, whose secondary this side is.
    Primary {
        /// Of this VM.
        vm: VmId,
        /// In this generation.
        generation: Generation,
    },
    /// A VM that runs here.
    Vm(VmId),
}

impl Occupant {
    /// Whoever holds a later generation of the same VM has claimed it to be alone: there is no pair any more, whether this
    /// side has heard of that or not.
    fn is_over_for(self, next: Self) -> bool {
        match (self, next) {
            (Self::Primary { vm, generation }, Self::Primary { vm: theirs, generation: later }) => {
                vm == theirs && generation < later
            }
            _ => false,
        }
    }
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primary { vm, .. } => write!(f, "the secondary of VM {vm}"),
            Self::Vm(vm) => write!(f, "this side runs VM {vm} itself"),
        }
    }
}

/// The place.
#[derive(Debug, Default)]
pub struct Place {
    occupant: Mutex<Option<Occupant>>,
    changed: Condvar,
}

impl Place {
    /// From now on it is theirs, or nobody's.
    pub fn set(&self, occupant: Option<Occupant>) {
        *self.lock() = occupant;
        self.changed.notify_all();
    }

    /// The place for `next`, when it is nobody's. A primary of which this side was the secondary, and is not any more, waits
    /// until `deadline` for what is left of that to end; all others hear at once whose it is, as an error.
    pub fn free_for(
        &self,
        next: Occupant,
        deadline: Instant,
    ) -> Result<MutexGuard<'_, Option<Occupant>>, Occupant> {
        let mut place = self.lock();
        while let Some(occupant) = *place {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !occupant.is_over_for(next) {
                return Err(occupant);
            }
            let woken = self.changed.wait_timeout(place, left);
            place = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(place)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Occupant>> {
        self.occupant.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::channel, thread, time::Duration};

    use super::*;

    const OURS: VmId = VmId([1; 16]);
    const LONG: Duration = Duration::from_secs(60);

    fn primary(vm: VmId, generation: u64) -> Occupant {
        Occupant::Primary { vm, generation: Generation(generation) }
    }

    #[test]
    fn only_the_primary_of_a_pair_that_is_over_is_waited_with() {
        let place = Place::default();
        let occupant = primary(OURS, 2);
        place.set(Some(occupant));
        let refused = |vm, generation, patience| {
            place.free_for(primary(vm, generation), Instant::now() + patience).err()
        };
        for (vm, generation) in [(OURS, 2), (OURS, 1), (VmId([2; 16]), 3)] {
            assert_eq!(refused(vm, generation, LONG), Some(occupant));
        }
        assert_eq!(refused(OURS, 3, Duration::from_millis(1)), Some(occupant), "not for ever");
        place.set(Some(Occupant::Vm(OURS)));
        assert_eq!(refused(OURS, 3, LONG), Some(Occupant::Vm(OURS)), "it has taken over");
    }

    #[test]
    fn who_waits_has_the_place_when_it_is_left_and_hears_when_somebody_else_does() {
        for next in [None, Some(primary(OURS, 3))] {
            let place = Place::default();
            place.set(Some(primary(OURS, 2)));
            let (waits, waiting) = channel();
            thread::scope(|scope| {
                let waiter = scope.spawn(|| {
                    waits.send(()).unwrap();
                    place.free_for(primary(OURS, 3), Instant::now() + LONG).map(drop)
                });
                waiting.recv().unwrap();
                place.set(next);
                assert_eq!(waiter.join().unwrap().err(), next);
            });
        }
    }
}
