//! Bytes that one thread may have under way to another.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// What is under way, and how much may be. Clones are the same budget.
#[derive(Clone)]
pub struct Budget(Arc<State>);

struct State {
    most_bytes: u64,
    used: Mutex<Used>,
    less: Condvar,
}

#[derive(Default)]
struct Used {
    bytes: u64,
    /// How many wait for room. To wake nobody is a system call too.
    waiting: u32,
    closed: bool,
}

impl Used {
    fn has_no_room_for(&self, bytes: u64, most_bytes: u64) -> bool {
        !self.closed && self.bytes > 0 && self.bytes.saturating_add(bytes) > most_bytes
    }
}

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(most_bytes: u64) -> Self {
        Self(Arc::new(State { most_bytes, used: Mutex::default(), less: Condvar::new() }))
    }

    /// Waits until there is room, and takes it. What is larger than the whole budget has to be alone. A closed budget has
    /// room for everything.
    pub fn take(&self, bytes: u64) {
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |used: &mut Used| used.has_no_room_for(bytes, self.0.most_bytes);
        used.waiting += 1;
        let mut used = self.0.less.wait_while(used, full).unwrap_or_else(PoisonError::into_inner);
        used.waiting -= 1;
        used.bytes = used.bytes.saturating_add(bytes);
    }

    /// True if [`Budget::take`] would have to wait.
    #[must_use]
    pub fn is_short_of(&self, bytes: u64) -> bool {
        let used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.has_no_room_for(bytes, self.0.most_bytes)
    }

    /// What was taken has arrived.
    pub fn give_back(&self, bytes: u64) {
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.bytes = used.bytes.saturating_sub(bytes);
        let waiting = used.waiting > 0;
        drop(used);
        if waiting {
            self.0.less.notify_one();
        }
    }

    /// Nobody gives anything back any more: nobody is to wait for that.
    pub fn close(&self) {
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.0.less.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn who_has_too_much_under_way_waits_until_some_has_arrived() {
        let budget = Budget::new(100);
        budget.take(60);
        budget.take(40);
        assert!(budget.is_short_of(1));
        let (took, taken) = mpsc::channel();
        let theirs = budget.clone();
        let thread = thread::spawn(move || {
            theirs.take(50);
            took.send(()).unwrap();
        });
        budget.give_back(40);
        assert!(taken.try_recv().is_err(), "60 and 50 are too many");
        budget.give_back(60);
        taken.recv().unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn what_is_larger_than_all_of_it_goes_alone_and_nobody_waits_for_one_who_is_gone() {
        let budget = Budget::new(100);
        budget.take(5000);
        assert!(budget.is_short_of(1));
        budget.close();
        budget.take(1);
    }
}
