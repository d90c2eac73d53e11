//! What a secondary's VM has said and the primary may not have released.

use alloc::{collections::VecDeque, vec::Vec};

use ftlog::Position;

use super::Limits;

/// The latest outputs not known to be released, in order; the oldest give way when there are too many.
///
/// A lost output costs a retransmission, a repeated one nothing, so dropping is safe. For a console it is a gap in
/// the text, counted in [`dropped`](Self::dropped).
#[derive(Debug)]
pub struct Unreleased<T> {
    limits: Limits,
    ring: VecDeque<(Position, u64, T)>,
    bytes: u64,
    dropped: u64,
    released: Position,
}

impl<T> Unreleased<T> {
    /// An empty ring.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, ring: VecDeque::new(), bytes: 0, dropped: 0, released: Position(0) }
    }

    /// Keeps an output of `position`, unless the primary has released it already.
    pub fn push(&mut self, position: Position, bytes: u64, item: T) {
        if position <= self.released {
            return;
        }
        self.ring.push_back((position, bytes, item));
        self.bytes = self.bytes.saturating_add(bytes);
        while self.ring.len() > self.limits.outputs || self.bytes > self.limits.bytes {
            self.pop();
            self.dropped += 1;
        }
    }

    /// The primary has released everything up to `through`.
    pub fn released(&mut self, through: Position) {
        self.released = self.released.max(through);
        while self.ring.front().is_some_and(|(position, ..)| *position <= self.released) {
            self.pop();
        }
    }

    /// At takeover: what to say (again), in order.
    pub fn take(&mut self) -> Vec<T> {
        self.bytes = 0;
        self.ring.drain(..).map(|(_, _, item)| item).collect()
    }

    /// Outputs that gave way to later ones.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn pop(&mut self) {
        if let Some((_, bytes, _)) = self.ring.pop_front() {
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(outputs: usize, bytes: u64) -> Unreleased<u64> {
        let mut ring = Unreleased::new(Limits { outputs, bytes });
        for n in 1..=5 {
            ring.push(Position(n), 10, n);
        }
        ring
    }

    #[test]
    fn forgets_what_was_released() {
        let mut ring = ring(10, 1000);
        ring.released(Position(3));
        ring.released(Position(2));
        assert_eq!((ring.take(), ring.dropped()), (vec![4, 5], 0));
        assert!(ring.take().is_empty());
    }

    #[test]
    fn released_before_it_is_said_here() {
        let mut ring = ring(10, 1000);
        ring.released(Position(7));
        ring.push(Position(6), 1, 6);
        ring.push(Position(7), 1, 7);
        ring.push(Position(8), 1, 8);
        assert_eq!(ring.take(), [8]);
    }

    #[test]
    fn the_oldest_give_way() {
        let mut by_count = ring(3, 1000);
        assert_eq!((by_count.take(), by_count.dropped()), (vec![3, 4, 5], 2));
        let mut by_bytes = ring(10, 25);
        assert_eq!((by_bytes.take(), by_bytes.dropped()), (vec![4, 5], 3));
        let mut none = ring(10, 9);
        assert_eq!((none.take(), none.dropped()), (vec![], 5));
    }
}
