//! How the memory of a guest that runs on gets to a secondary: in rounds, until what is left fits in the stop.
//!
//! ```text
//!  round 1   all of it            ├──────────────────────────┤
//!  round 2   written meanwhile                               ├────────┤
//!  round 3                                                            ├──┤
//!  stop      the rest, vCPU, devices                                     ▐▌
//! ```
//!
//! A guest that writes as fast as the channel carries gets no round that is shorter than the one before. It is slowed, one
//! degree after such a round: it then runs for half of the time that it ran before. It is never stopped for long.

/// What it is to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    /// The longest stop, in ns.
    pub stop_ns: u64,
}

impl Default for Target {
    fn default() -> Self {
        Self { stop_ns: 20_000_000 }
    }
}

const SLICE_NS: u64 = 100_000_000;
const LONGEST_SLICE_NS: u64 = 10_000_000;
const SHORTEST_SLICE_NS: u64 = 100_000;

/// How much a guest is slowed: at degree n it runs for 1/2ⁿ of the time.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Degree(u32);

impl Degree {
    /// The strongest.
    pub const MOST: Self = Self(11);

    /// For how long it stands after it has run for `ran_ns`.
    #[must_use]
    pub const fn stands_ns(self, ran_ns: u64) -> u64 {
        ran_ns.saturating_mul((1 << self.0) - 1)
    }

    /// For how long it runs until it stands, in ns: so short that it never stands for much more than 200 ms.
    #[must_use]
    pub const fn slice_ns(self) -> u64 {
        let slice_ns = SLICE_NS >> self.0;
        if slice_ns > LONGEST_SLICE_NS {
            LONGEST_SLICE_NS
        } else if slice_ns < SHORTEST_SLICE_NS {
            SHORTEST_SLICE_NS
        } else {
            slice_ns
        }
    }

    /// Which part of the time it stands, in percent, at most 99.
    #[must_use]
    pub const fn percent(self) -> u32 {
        let percent = 100 - (100 >> self.0);
        if percent < 99 { percent } else { 99 }
    }

    /// The next one.
    #[must_use]
    pub fn stronger(self) -> Self {
        Self(self.0 + 1).min(Self::MOST)
    }
}

/// What comes after a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another, with the guest slowed so much.
    Round(Degree),
    /// The stop.
    Stop,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The number of the round, from 1.
    pub round: u32,
    /// Bytes sent in all rounds.
    pub sent_bytes: u64,
    /// Pages that this round began with.
    pub pages: u64,
    /// Those that it has still to look at.
    pub left_pages: u64,
    /// How long this round is likely to take from now on, in ns; unknown before something was sent.
    pub left_ns: Option<u64>,
    /// How much the guest is slowed.
    pub degree: Degree,
}

/// What the stop takes for a page beside its way: it is copied with the guest out of it, ns.
const COPY_NS: u64 = 2_000;
/// A round of fewer bytes tells little of the channel.
const TELLING_BYTES: u64 = 64 << 10;
/// A round that leaves more than this part of what the one before left has not helped, in percent.
const SHRUNK: u64 = 70;

/// The rounds of one seed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rounds {
    target: Target,
    round_trip_ns: u64,
    round: u32,
    degree: Degree,
    /// When this round began.
    since_ns: u64,
    /// What this round began with.
    pages: u64,
    looked_at: u64,
    sent: u64,
    sent_bytes: u64,
    /// Of the rounds before.
    bytes_before: u64,
    /// As last measured: bytes a second, and those of a page.
    rate: Option<u64>,
    page_bytes: u64,
}

impl Rounds {
    /// Begins, with `pages` to look at. A round ends when it is received, and that is known after `round_trip_ns` more.
    #[must_use]
    pub fn begin(target: Target, round_trip_ns: u64, pages: u64, now_ns: u64) -> Self {
        Self {
            target,
            round_trip_ns,
            round: 1,
            degree: Degree::default(),
            since_ns: now_ns,
            pages,
            looked_at: 0,
            sent: 0,
            sent_bytes: 0,
            bytes_before: 0,
            rate: None,
            page_bytes: 4096,
        }
    }

    /// `looked_at` pages more were looked at, `sent` of them sent, in a frame of `bytes`.
    pub fn sent(&mut self, looked_at: u64, sent: u64, bytes: u64) {
        self.looked_at = self.looked_at.saturating_add(looked_at);
        self.sent = self.sent.saturating_add(sent);
        self.sent_bytes = self.sent_bytes.saturating_add(bytes);
    }

    /// The round is received, and `written` pages were written since they were last sent.
    pub fn ended(&mut self, written: u64, now_ns: u64) -> Next {
        self.measure(now_ns);
        if self.stop_ns(written) <= self.target.stop_ns {
            return Next::Stop;
        }
        let helped = written.saturating_mul(100) <= self.pages.saturating_mul(SHRUNK);
        if !helped && self.round > 1 {
            self.degree = self.degree.stronger();
        }
        self.round = self.round.saturating_add(1);
        self.bytes_before = self.bytes_before.saturating_add(self.sent_bytes);
        (self.since_ns, self.pages, self.looked_at, self.sent, self.sent_bytes) = (now_ns, written, 0, 0, 0);
        Next::Round(self.degree)
    }

    /// How long a stop with `pages` left would take, in ns.
    #[must_use]
    pub fn stop_ns(&self, pages: u64) -> u64 {
        let way_ns = self.way_ns(pages.saturating_mul(self.page_bytes)).unwrap_or(0);
        way_ns.saturating_add(pages.saturating_mul(COPY_NS))
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self, now_ns: u64) -> Progress {
        let left_pages = self.pages.saturating_sub(self.looked_at);
        let passed_ns = now_ns.saturating_sub(self.since_ns);
        let rest = u128::from(left_pages) * u128::from(passed_ns) / u128::from(self.looked_at.max(1));
        Progress {
            round: self.round,
            sent_bytes: self.bytes_before.saturating_add(self.sent_bytes),
            pages: self.pages,
            left_pages,
            left_ns: (self.looked_at > 0).then(|| u64::try_from(rest).unwrap_or(u64::MAX)),
            degree: self.degree,
        }
    }

    fn measure(&mut self, now_ns: u64) {
        self.page_bytes = self.sent_bytes.checked_div(self.sent).unwrap_or(self.page_bytes);
        if self.rate.is_none() || self.sent_bytes >= TELLING_BYTES {
            let passed_ns = now_ns.saturating_sub(self.since_ns).saturating_sub(self.round_trip_ns).max(1);
            let rate = u128::from(self.sent_bytes) * 1_000_000_000 / u128::from(passed_ns);
            self.rate = (self.sent_bytes > 0).then(|| u64::try_from(rate).unwrap_or(u64::MAX).max(1));
        }
    }

    fn way_ns(&self, bytes: u64) -> Option<u64> {
        let ns = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate?);
        Some(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest that writes `rate` pages of `set` in a second, over a channel of so many bytes a second.
    struct World {
        rate: u64,
        set: u64,
        bandwidth: u64,
        memory: u64,
    }

    /// Gives the rounds it took, the stop in ns, and the strongest degree; `None` if it did not end.
    fn seed(world: &World) -> Option<(u32, u64, Degree)> {
        let (mut now_ns, mut pages, mut degree) = (0, world.memory, Degree::default());
        let mut rounds = Rounds::begin(Target::default(), 0, pages, now_ns);
        for round in 1..200 {
            let ns = pages * 4096 * 1_000_000_000 / world.bandwidth;
            now_ns += ns;
            rounds.sent(pages, pages, pages * 4096);
            let runs_ns = ns - degree.stands_ns(ns >> degree.0);
            let written = (u128::from(world.rate) * u128::from(runs_ns) / 1_000_000_000) as u64;
            pages = written.min(world.set);
            match rounds.ended(pages, now_ns) {
                Next::Stop => return Some((round, pages * 4096 * 1_000_000_000 / world.bandwidth, degree)),
                Next::Round(stronger) => degree = stronger,
            }
        }
        None
    }

    #[test]
    fn a_guest_that_writes_little_is_not_slowed() {
        let world = World { rate: 1000, set: 5000, bandwidth: 125 << 20, memory: 131_072 };
        let (rounds, stop_ns, degree) = seed(&world).unwrap();
        assert!(rounds <= 4 && stop_ns <= 20_000_000, "{rounds} rounds, {stop_ns} ns");
        assert_eq!(degree, Degree::default());
    }

    #[test]
    fn whatever_a_guest_writes_the_stop_is_short() {
        for rate in [100, 10_000, 100_000, 500_000] {
            for bandwidth in [1_250_000, 12_500_000, 125_000_000, 1_250_000_000] {
                let world = World { rate, set: 50_000, bandwidth, memory: 131_072 };
                let found = seed(&world).unwrap_or_else(|| panic!("{rate} pages/s at {bandwidth} bytes/s"));
                assert!(found.1 <= 20_000_000, "{rate} pages/s at {bandwidth} bytes/s: {found:?}");
            }
        }
    }

    #[test]
    fn nothing_written_is_a_stop_at_once() {
        let mut rounds = Rounds::begin(Target::default(), 0, 0, 5);
        assert_eq!(rounds.ended(0, 5), Next::Stop);
    }

    #[test]
    fn a_degree_halves_what_is_left() {
        let mut degree = Degree::default();
        assert_eq!((degree.stands_ns(100), degree.percent()), (0, 0));
        degree = degree.stronger();
        assert_eq!((degree.stands_ns(100), degree.percent()), (100, 50));
        degree = degree.stronger();
        assert_eq!((degree.stands_ns(100), degree.percent()), (300, 75));
        (0..20).for_each(|_| degree = degree.stronger());
        assert_eq!((degree, degree.percent()), (Degree::MOST, 99));
        assert!(degree.stands_ns(degree.slice_ns()) < 210_000_000);
    }

    #[test]
    fn progress_says_what_is_left_of_a_round() {
        let mut rounds = Rounds::begin(Target::default(), 0, 100, 0);
        assert_eq!(rounds.progress(0).left_ns, None);
        rounds.sent(25, 10, 40_960);
        let progress = rounds.progress(1000);
        assert_eq!((progress.round, progress.sent_bytes, progress.left_pages), (1, 40_960, 75));
        assert_eq!(progress.left_ns, Some(3000));
    }
}
