//! Switches that disable one safety check, so that tests can show that they would notice.
//!
//! Without the cargo feature `sabotage` every switch is a constant `false` and the compiler removes it. With the
//! feature, the environment variable `FTVMM_SABOTAGE` names the check to disable in a whole process (`gate`,
//! `arbiter`, `digest`, … see [`Check::name`]), and `disable` disables one on the calling thread only.

/// A check that can be disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// The commit gate holds outputs back.
    Gate,
    /// A lost claim keeps a side from going on alone.
    Arbiter,
    /// A claim without an answer keeps a side waiting.
    Unavailable,
    /// Replay compares its digest with the log's.
    Digest,
    /// Outputs wait for the acknowledgement of the log behind them, not only for its sending.
    Ack,
    /// A peer cannot acknowledge what it was never sent.
    AckBound,
    /// A peer that may hold a whole seed is reckoned with when it is lost.
    Armed,
    /// A secondary goes live only with a whole seed.
    Seed,
    /// A secondary acknowledges only what it holds.
    Receipt,
    /// A log with a gap is refused.
    Gap,
    /// A damaged log is refused.
    Corrupt,
    /// A secondary that diverged goes no further.
    Divergence,
    /// A side that is heard and does not move is lost.
    Stall,
    /// A secondary that executes nothing is lost, whatever it says of itself.
    Standstill,
    /// A primary cannot have let out what its secondary does not hold.
    Released,
    /// A primary cannot keep the next live side off shared disks for ever.
    Lease,
    /// A secondary executes all it holds before it goes live.
    Drain,
}

impl Check {
    /// Every check, in the order of declaration.
    pub const ALL: [Self; 17] = [
        Self::Gate,
        Self::Arbiter,
        Self::Unavailable,
        Self::Digest,
        Self::Ack,
        Self::AckBound,
        Self::Armed,
        Self::Seed,
        Self::Receipt,
        Self::Gap,
        Self::Corrupt,
        Self::Divergence,
        Self::Stall,
        Self::Standstill,
        Self::Released,
        Self::Lease,
        Self::Drain,
    ];

    /// The name in `FTVMM_SABOTAGE`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Arbiter => "arbiter",
            Self::Unavailable => "unavailable",
            Self::Digest => "digest",
            Self::Ack => "ack",
            Self::AckBound => "ack-bound",
            Self::Armed => "armed",
            Self::Seed => "seed",
            Self::Receipt => "receipt",
            Self::Gap => "gap",
            Self::Corrupt => "corrupt",
            Self::Divergence => "divergence",
            Self::Stall => "stall",
            Self::Standstill => "standstill",
            Self::Released => "released",
            Self::Lease => "lease",
            Self::Drain => "drain",
        }
    }
}

/// Whether `check` is disabled: never, in a build without the feature.
#[cfg(not(feature = "sabotage"))]
#[inline(always)]
#[must_use]
pub const fn disabled(_check: Check) -> bool {
    false
}

#[cfg(feature = "sabotage")]
pub use switches::{Guard, disable, disabled};

#[cfg(feature = "sabotage")]
mod switches {
    use std::cell::Cell;
    use std::sync::OnceLock;

    use super::Check;

    thread_local! {
        static DISABLED_HERE: Cell<Option<Check>> = const { Cell::new(None) };
    }

    /// Whether `check` is disabled on this thread or, by `FTVMM_SABOTAGE`, in this process.
    #[must_use]
    pub fn disabled(check: Check) -> bool {
        DISABLED_HERE.get() == Some(check) || disabled_by_environment() == Some(check)
    }

    /// Disables `check` on this thread until the guard is dropped.
    pub fn disable(check: Check) -> Guard {
        Guard { before: DISABLED_HERE.replace(Some(check)) }
    }

    /// Restores what was disabled before.
    #[derive(Debug)]
    #[must_use]
    pub struct Guard {
        before: Option<Check>,
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            DISABLED_HERE.set(self.before);
        }
    }

    /// A name that means nothing must not pass for a test that noticed nothing, so it ends the process.
    fn disabled_by_environment() -> Option<Check> {
        static CHOICE: OnceLock<Option<Check>> = OnceLock::new();
        *CHOICE.get_or_init(|| {
            let name = std::env::var("FTVMM_SABOTAGE").ok().filter(|name| !name.is_empty())?;
            let known = Check::ALL.into_iter().find(|check| check.name() == name);
            assert!(known.is_some(), "FTVMM_SABOTAGE names no check: {name:?}");
            known
        })
    }
}
