//! The gate that holds outputs back.

use alloc::{collections::VecDeque, vec::Vec};

use ftlog::Position;
use thiserror::Error;

use crate::sabotage::{self, Check};

/// An output on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held<T> {
    /// The sync point that produced it.
    pub position: Position,
    /// When it came to the gate, in ns; now minus this is its commit delay.
    pub put_ns: u64,
    /// Its size in bytes, as it counts against the limit.
    pub bytes: u64,
    /// The output.
    pub item: T,
}

/// What may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Number of outputs.
    pub outputs: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// An output that found the gate full. It is refused, which is safe (a network may drop) and visible.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the gate holds {outputs} outputs, {bytes} bytes: no room for {refused_bytes} bytes at {position}")]
pub struct GateFull {
    /// The sync point that produced it.
    pub position: Position,
    /// Its size in bytes.
    pub refused_bytes: u64,
    /// Outputs held.
    pub outputs: usize,
    /// Their bytes.
    pub bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Everything leaves at once.
    Open,
    /// Outputs up to this position leave, later ones wait.
    Through(Position),
    /// Nothing leaves any more, ever.
    Shut,
}

/// Holds the outputs whose log the secondary may not have, in order, within limits.
///
/// It begins closed: a VM that has not won its generation says nothing.
#[derive(Debug)]
pub struct Gate<T> {
    limits: Limits,
    state: State,
    held: VecDeque<Held<T>>,
    bytes: u64,
    last: Position,
}

impl<T> Gate<T> {
    /// A closed gate.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Through(Position(0)),
            held: VecDeque::new(),
            bytes: 0,
            last: Position(0),
        }
    }

    /// Takes an output of `position`; gives it back if it may leave at once.
    ///
    /// # Errors
    /// [`GateFull`] if it would have to wait and there is no room; it is dropped.
    ///
    /// # Panics
    /// If positions go backwards, which is a fault of the caller.
    pub fn put(
        &mut self,
        position: Position,
        bytes: u64,
        now_ns: u64,
        item: T,
    ) -> Result<Option<Held<T>>, GateFull> {
        assert!(position >= self.last, "outputs come in order: {position} after {}", self.last);
        self.last = position;
        let output = Held { position, put_ns: now_ns, bytes, item };
        match self.state {
            State::Shut => return Ok(None),
            State::Open => return Ok(Some(output)),
            State::Through(through) if position <= through => return Ok(Some(output)),
            State::Through(_) if sabotage::disabled(Check::Gate) => return Ok(Some(output)),
            State::Through(_) => {}
        }
        if self.held.len() >= self.limits.outputs || self.bytes.saturating_add(bytes) > self.limits.bytes {
            return Err(GateFull {
                position,
                refused_bytes: bytes,
                outputs: self.held.len(),
                bytes: self.bytes,
            });
        }
        self.bytes += bytes;
        self.held.push_back(output);
        Ok(None)
    }

    /// From now on outputs after `after` wait.
    ///
    /// # Panics
    /// If outputs are held already: they were promised to another peer's acknowledgement.
    pub fn close(&mut self, after: Position) {
        if self.state == State::Shut {
            return;
        }
        assert!(self.held.is_empty(), "{} outputs held while closing after {after}", self.held.len());
        self.state = State::Through(after);
    }

    /// Lets the outputs up to `through` leave, in order. Never takes back what an earlier call allowed.
    pub fn release(&mut self, through: Position, left: &mut Vec<Held<T>>) {
        let State::Through(before) = self.state else { return };
        let through = through.max(before);
        self.state = State::Through(through);
        while self.held.front().is_some_and(|output| output.position <= through) {
            self.pop_into(left);
        }
        // The other half of the check in `put`: what is still held is beyond what was allowed.
        assert!(self.held.front().is_none_or(|output| output.position > through));
    }

    /// Lets everything leave, now and from now on.
    pub fn open(&mut self, left: &mut Vec<Held<T>>) {
        if self.state == State::Shut {
            return;
        }
        self.state = State::Open;
        while !self.held.is_empty() {
            self.pop_into(left);
        }
    }

    /// Throws away what is held and lets nothing leave any more.
    pub fn shut(&mut self) {
        self.state = State::Shut;
        self.held.clear();
        self.bytes = 0;
    }

    /// Outputs held.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.held.len()
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How long the oldest held output has waited, in ns.
    #[must_use]
    pub fn oldest_ns(&self, now_ns: u64) -> Option<u64> {
        self.held.front().map(|output| now_ns.saturating_sub(output.put_ns))
    }

    fn pop_into(&mut self, left: &mut Vec<Held<T>>) {
        if let Some(output) = self.held.pop_front() {
            self.bytes -= output.bytes;
            left.push(output);
        }
    }
}

#[cfg(test)]
mod tests;
