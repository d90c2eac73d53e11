//! What a run found.

use std::fmt;

use crate::faults::MS;

/// What a run found.
#[derive(Debug)]
pub struct Failure {
    pub kind: String,
    pub text: String,
    pub at_ns: u64,
    safety: bool,
}

impl Failure {
    fn new(kind: String, text: String, safety: bool) -> Self {
        Self { kind, text, at_ns: 0, safety }
    }

    /// One of the safety properties does not hold.
    pub fn safety(property: u32, text: String) -> Self {
        Self::new(format!("safety property {property}"), text, true)
    }

    /// Something grows beyond its limit.
    pub fn bound(text: String) -> Self {
        Self::new("a bound".into(), text, true)
    }

    /// Something does not happen in time.
    pub fn liveness(text: String) -> Self {
        Self::new("liveness".into(), text, false)
    }

    /// A core accuses a peer that did nothing wrong, or that breaks a safety property.
    pub fn accusation(property: Option<u32>, text: String) -> Self {
        Self::new(format!("an accusation (property {property:?})"), text, property.is_some())
    }

    pub fn at(mut self, at_ns: u64) -> Self {
        self.at_ns = at_ns;
        self
    }

    pub fn is_safety(&self) -> bool {
        self.safety
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} ms: {}: {}", self.at_ns / MS, self.kind, self.text)
    }
}
