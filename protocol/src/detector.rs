//! Failure detection: silence on one connection, as this process saw it.
//!
//! ```text
//!  heard ─┬──── tick ──── tick ──── tick ──── tick ──┬─ silent for longer than the timeout: lost
//!         └─ at most one heartbeat interval counts ──┘
//!            between two looks at the clock
//! ```
//!
//! Silence counts only while this process looks: one that was itself stopped for a minute, and whose peer's messages
//! wait in the socket, must read those before it calls the peer dead.

use super::Config;

/// How long the first sign of life may take, in ns, where the timeout is shorter: a round trip and more, since what a side
/// has to say first is an answer.
const FIRST_NS: u64 = 2_000_000_000;

/// Watches one connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Detector {
    timeout_ns: u64,
    heartbeat_ns: u64,
    heard_ns: u64,
    /// The peer has said something.
    met: bool,
    looked_ns: u64,
    silent_ns: u64,
    sent_ns: u64,
}

impl Detector {
    pub(super) fn new(config: &Config, now_ns: u64) -> Self {
        Self {
            timeout_ns: config.failure_timeout_ns,
            heartbeat_ns: config.heartbeat_ns(),
            heard_ns: now_ns,
            met: false,
            looked_ns: now_ns,
            silent_ns: 0,
            sent_ns: now_ns,
        }
    }

    /// The peer said something.
    pub(super) fn heard(&mut self, now_ns: u64) {
        self.heard_ns = now_ns;
        self.met = true;
        self.looked_ns = now_ns;
        self.silent_ns = 0;
    }

    /// Looks at the clock; gives the time since the peer was last heard, in ns, once it is too long.
    pub(super) fn look(&mut self, now_ns: u64) -> Option<u64> {
        let passed_ns = now_ns.saturating_sub(self.looked_ns).min(self.heartbeat_ns);
        self.looked_ns = now_ns;
        self.silent_ns = self.silent_ns.saturating_add(passed_ns);
        let timeout_ns = if self.met { self.timeout_ns } else { self.timeout_ns.max(FIRST_NS) };
        (self.silent_ns > timeout_ns).then(|| now_ns.saturating_sub(self.heard_ns))
    }

    /// We said something.
    pub(super) fn sent(&mut self, now_ns: u64) {
        self.sent_ns = now_ns;
    }

    /// Whether we were silent for so long that the peer may begin to wonder.
    pub(super) fn heartbeat_due(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.sent_ns) >= self.heartbeat_ns
    }

    /// When the peer was last heard.
    pub(super) fn heard_ns(&self) -> u64 {
        self.heard_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Of a peer that was heard at 0.
    fn detector() -> Detector {
        let mut detector = new();
        detector.heard(0);
        detector
    }

    fn new() -> Detector {
        Detector::new(&Config { failure_timeout_ns: 200 * MS, ..Config::default() }, 0)
    }

    #[test]
    fn the_first_sign_of_life_may_take_a_round_trip() {
        let mut detector = new();
        let found = (1..).find(|n| detector.look(n * 10 * MS).is_some());
        assert_eq!(found.map(|n| n * 10), Some(2010));
        let mut detector = new();
        assert!((1..=40).all(|n| detector.look(n * 10 * MS).is_none()), "a round trip of 220 ms and more");
        detector.heard(400 * MS);
        assert!((41..=60).all(|n| detector.look(n * 10 * MS).is_none()));
        assert!(detector.look(610 * MS).is_some(), "after it the timeout counts");
    }

    #[test]
    fn silence_beyond_the_timeout_is_a_loss() {
        let mut detector = detector();
        for ms in (10..=200).step_by(10) {
            assert_eq!(detector.look(ms * MS), None, "at {ms} ms");
        }
        assert_eq!(detector.look(210 * MS), Some(210 * MS));
    }

    #[test]
    fn a_message_starts_the_count_again() {
        let mut detector = detector();
        for ms in (10..=1000).step_by(10) {
            if ms % 150 == 0 {
                detector.heard(ms * MS);
            }
            assert_eq!(detector.look(ms * MS), None, "at {ms} ms");
        }
    }

    #[test]
    fn time_in_which_we_were_stopped_is_not_silence() {
        let mut detector = detector();
        assert_eq!(detector.look(3_600_000 * MS), None, "one look after an hour");
        let later = (1..=4).map(|n| detector.look((3_600_000 + n * 50) * MS)).collect::<Vec<_>>();
        assert!(later[..3].iter().all(Option::is_none));
        assert!(later[3].is_some(), "a peer that stays silent is found all the same");
    }

    #[test]
    fn a_clock_that_goes_back_does_not_count() {
        let mut detector = detector();
        detector.heard(100 * MS);
        assert_eq!(detector.look(50 * MS), None);
        assert!(!detector.heartbeat_due(0));
    }

    #[test]
    fn a_heartbeat_is_due_four_times_per_timeout() {
        let mut detector = detector();
        assert!(!detector.heartbeat_due(49 * MS));
        assert!(detector.heartbeat_due(50 * MS));
        detector.sent(50 * MS);
        assert!(!detector.heartbeat_due(99 * MS));
    }
}
