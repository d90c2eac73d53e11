//! What came about while an input ran.

use std::ops::Add;

/// What came about while an input ran; shows a test that its inputs reach the parts they are meant for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Frames the guest sent.
    pub sent: u64,
    /// Frames the guest received.
    pub received: u64,
    /// Requests of disks to their backing files.
    pub disk_requests: u64,
    /// Those that were answered.
    pub disk_answers: u64,
    /// Answers that came for no request in flight.
    pub disk_answers_ignored: u64,
    /// Random bytes the guest was given, or could have been.
    pub entropy: u64,
    /// Violations of the virtio protocol.
    pub violations: u64,
    /// Saves and restores.
    pub restores: u64,
}

impl Add for Coverage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Coverage {
            sent: self.sent + other.sent,
            received: self.received + other.received,
            disk_requests: self.disk_requests + other.disk_requests,
            disk_answers: self.disk_answers + other.disk_answers,
            disk_answers_ignored: self.disk_answers_ignored + other.disk_answers_ignored,
            entropy: self.entropy + other.entropy,
            violations: self.violations + other.violations,
            restores: self.restores + other.restores,
        }
    }
}
