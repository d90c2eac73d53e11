//! What goes wrong, how often: drawn from the seed.

use crate::lies::Liar;
use crate::random::Random;

pub const MS: u64 = 1_000_000;
pub const HOSTS: usize = 3;

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
    pub stop: u64,
    pub suspend: u64,
    pub threadless: u64,
    pub hard_of_hearing: u64,
    pub endless: u64,
    pub liar: Option<Liar>,
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
            stop: rate(20_000),
            suspend: rate(20_000),
            threadless: rate(40_000),
            hard_of_hearing: rate(60_000),
            endless: rate(20_000),
            liar: None,
            crash_at_effect: rate(2_000),
            pause_at_effect: rate(2_000),
            frame: rate(2_000),
            batch_lost: rate(2_000),
            ack_nonsense: rate(2_000),
            divergence: rate(500),
        }
    }

    /// A host that lies in one field of one message, and little else.
    pub fn lies(seed: u64) -> Self {
        Self {
            quiet_ns: 3_000 * MS,
            every_ns: 50 * MS,
            crash: 50_000,
            pause: 10_000,
            partition: 10_000,
            slow_replay: 20_000,
            liar: Some(Liar::of(seed, HOSTS)),
            ..Self::default()
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
    /// A process is asked to end.
    Stop,
    /// A host sleeps, and its clock may have stood when it wakes.
    Suspend,
    /// A host has no thread for whatever needs one.
    Threadless,
    /// The link thread of a primary reads late what the vCPU thread tells it.
    HardOfHearing,
    /// A secondary's vCPU is in a stretch that does not end until its watchdog ends it, and seems to move.
    Endless,
    /// The next frame from a host is lost, repeated, swapped or damaged.
    Frame,
    /// The next replayed step comes out wrong.
    Divergence,
    /// The arbiter is away while a process is killed.
    CrashWithoutArbiter,
}

impl Fault {
    pub const SINGLE: [Self; 17] = [
        Self::Crash,
        Self::Pause,
        Self::Partition,
        Self::ArbiterDown,
        Self::Command,
        Self::SlowReplay,
        Self::Idle,
        Self::Freeze,
        Self::CutOff,
        Self::Stop,
        Self::Suspend,
        Self::Threadless,
        Self::HardOfHearing,
        Self::Endless,
        Self::Frame,
        Self::Divergence,
        Self::CrashWithoutArbiter,
    ];

    /// The kinds drawn in chaos, with their rates.
    pub fn rates(profile: &Profile) -> [(Self, u64); 14] {
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
            (Self::Stop, profile.stop),
            (Self::Suspend, profile.suspend),
            (Self::Threadless, profile.threadless),
            (Self::HardOfHearing, profile.hard_of_hearing),
            (Self::Endless, profile.endless),
        ]
    }
}
