//! The model of a VM: a counter whose state is a hash of all its inputs.

use ftlog::Position;

use crate::random::mix;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guest {
    pub position: Position,
    pub hash: u64,
}

/// What the guest says: proof of the state it was in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    pub position: Position,
    pub hash: u64,
}

/// Bytes an output counts for in the gate.
pub const OUTPUT_BYTES: u64 = 100;

impl Guest {
    pub fn at_power_on() -> Self {
        Self { position: Position(0), hash: 1 }
    }

    /// Runs to the next sync point, where `input` arrives.
    pub fn step(&mut self, input: u64) {
        self.position = self.position.next();
        self.hash = mix(self.hash ^ mix(input ^ self.position.0));
    }

    /// What it says at this sync point: something at every other one.
    pub fn output(&self) -> Option<Output> {
        self.hash.is_multiple_of(2).then_some(Output { position: self.position, hash: self.hash })
    }

    /// What it writes to a shared disk at this sync point: something at every eighth one.
    pub fn write(&self) -> Option<Output> {
        (self.hash >> 8).is_multiple_of(8).then_some(Output { position: self.position, hash: self.hash })
    }

    pub fn digest(&self) -> u32 {
        (self.hash >> 32) as u32
    }
}
