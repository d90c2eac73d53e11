//! What goes wrong, how often: drawn from the seed.

use crate::random::Random;

pub const MS: u64 = 1_000_000;

/// Rates per million, of the chance named.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// One fault at a time, each only when the VM is protected.
    pub single: bool,
    /// Faults end at this time.
    pub quiet_ns: u64,
    /// A fault of some kind is drawn this often.
    pub every_ns: u64,
    pub crash: u64,
    pub pause: u64,
    pub partition: u64,
    pub arbiter_down: u64,
    /// At each question to the arbiter: it is never answered.
    pub arbiter_hangs: u64,
    pub command: u64,
    pub slow_replay: u64,
    pub idle: u64,
    pub freeze: u64,
    pub cut_off: u64,
    /// At each effect a core asks for.
    pub crash_at_effect: u64,
    pub pause_at_effect: u64,
    /// At each frame: lost, repeated, swapped with the next, or a bit flipped.
    pub frame: u64,
    /// At each frame with log: it was never written.
    pub batch_lost: u64,
    /// At each acknowledgement: it speaks of log that does not exist.
    pub ack_nonsense: u64,
    /// At each replayed step: it comes out wrong.
    pub divergence: u64,
}

impl Profile {
    /// Every kind of fault, each seed with its own mixture: many have a few kinds only, so that what happens after
    /// one of them is seen as well.
    pub fn chaos(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0xc4a0_5000);
        let mut rate = |most: u64| if random.chance(500_000) { 0 } else { random.within(1..=most) };
        Self {
            single: false,
            quiet_ns: 3_000 * MS,
            every_ns: 50 * MS,
            crash: rate(60_000),
            pause: rate(80_000),
            partition: rate(100_000),
            arbiter_down: rate(60_000),
            arbiter_hangs: rate(20_000),
            command: rate(80_000),
            slow_replay: rate(60_000),
            idle: rate(60_000),
            freeze: rate(10_000),
            cut_off: rate(20_000),
            crash_at_effect: rate(2_000),
            pause_at_effect: rate(2_000),
            frame: rate(2_000),
            batch_lost: rate(2_000),
            ack_nonsense: rate(2_000),
            divergence: rate(500),
        }
    }

    /// The faults one at a time, each of which the pair must survive.
    pub fn single_faults(_seed: u64) -> Self {
        Self { single: true, quiet_ns: 6_000 * MS, every_ns: 30 * MS, ..Self::default() }
    }
}

/// A fault that is drawn now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A process is killed (its connections close) or its host loses power (they fall silent).
    Crash,
    /// A process does nothing for a while, perhaps longer than every timeout.
    Pause,
    /// One or both directions between two hosts carry nothing for a while.
    Partition,
    ArbiterDown,
    /// The operator wants something, of the current primary.
    Command,
    /// A secondary executes slowly for a while.
    SlowReplay,
    /// A guest waits for input, and makes no log by itself.
    Idle,
    /// A secondary is heard and executes nothing, for longer than a side is given.
    Freeze,
    /// A host's network device is gone.
    CutOff,
    /// The next frame from a host is lost, repeated, swapped or damaged.
    Frame,
    /// The next replayed step comes out wrong.
    Divergence,
    /// The arbiter is away while a process is killed.
    CrashWithoutArbiter,
}

impl Fault {
    pub const SINGLE: [Self; 12] = [
        Self::Crash,
        Self::Pause,
        Self::Partition,
        Self::ArbiterDown,
        Self::Command,
        Self::SlowReplay,
        Self::Idle,
        Self::Freeze,
        Self::CutOff,
        Self::Frame,
        Self::Divergence,
        Self::CrashWithoutArbiter,
    ];

    /// The kinds drawn in chaos, with their rates.
    pub fn rates(profile: &Profile) -> [(Self, u64); 9] {
        [
            (Self::Crash, profile.crash),
            (Self::Pause, profile.pause),
            (Self::Partition, profile.partition),
            (Self::ArbiterDown, profile.arbiter_down),
            (Self::Command, profile.command),
            (Self::SlowReplay, profile.slow_replay),
            (Self::Idle, profile.idle),
            (Self::Freeze, profile.freeze),
            (Self::CutOff, profile.cut_off),
        ]
    }
}
