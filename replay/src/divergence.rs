//! When a replay does not do what was recorded.

use std::fmt;

use ftlog::{ExitKind, Position, RegisterFile, RunningDigest, Step, describe, describe_both};

/// In what the two executions differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The stretch ended with another kind of exit.
    Exit {
        /// The kind in the log.
        recorded: ExitKind,
        /// The kind that the replay met.
        replayed: ExitKind,
    },
    /// The kernel-entry clock ended the stretch at another entry, or on one side only.
    Entries {
        /// The guest's count of kernel entries in the log.
        recorded: Option<u64>,
        /// The count that the replay met.
        replayed: Option<u64>,
    },
    /// Registers, exit address, data written by the guest, or earlier output.
    Digest {
        /// The running digest in the log.
        recorded: u32,
        /// The running digest of the replay.
        replayed: u32,
    },
    /// The recorded machine went on, the replaying one could not: why.
    Failed(String),
}

/// The first position at which a replay did not do what was recorded. It is never passed over.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Divergence {
    /// The sync point at which it showed; the cause lies in the stretch before it, or in the event applied there.
    pub position: Position,
    /// What differs.
    pub difference: Difference,
    /// The primary's registers there, when the log or the primary could still tell.
    pub recorded: Option<Box<RegisterFile>>,
    /// The registers of the replaying side there.
    pub replayed: Box<RegisterFile>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Exit { recorded, replayed } => {
                write!(f, "the recording has a {recorded:?} exit, the replay a {replayed:?} exit")
            }
            Difference::Entries { recorded, replayed } => {
                let name = |entries: &Option<u64>| match entries {
                    Some(entries) => format!("kernel entry {entries}"),
                    None => "an exit of its own".to_owned(),
                };
                write!(
                    f,
                    "the recorded stretch ends at {}, the replayed at {}",
                    name(recorded),
                    name(replayed)
                )
            }
            Difference::Digest { recorded, replayed } => {
                write!(f, "the recording's digest is {recorded:08x}, the replay's {replayed:08x}")
            }
            Difference::Failed(reason) => write!(f, "the recording goes on, the replay cannot: {reason}"),
        }
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "divergence at sync point {}: {}", self.position, self.difference)?;
        match &self.recorded {
            Some(recorded) => f.write_str(&describe_both(recorded, &self.replayed)),
            None => write!(f, "registers of the replay:\n{}", describe(&self.replayed)),
        }
    }
}

/// Compares what a replay did at `position` with the log's `step`. `entries` is the guest's count of kernel entries
/// where the exit was the kernel-entry clock's.
pub fn verify(
    position: Position,
    step: &Step,
    exit: ExitKind,
    entries: Option<u64>,
    digest: RunningDigest,
    registers: &RegisterFile,
) -> Result<(), Divergence> {
    let difference = if step.exit != exit {
        Difference::Exit { recorded: step.exit, replayed: exit }
    } else if step.entries != entries {
        Difference::Entries { recorded: step.entries, replayed: entries }
    } else if step.digest != digest.short() {
        Difference::Digest { recorded: step.digest, replayed: digest.short() }
    } else {
        return Ok(());
    };
    let recorded = step.registers.clone();
    Err(Divergence { position, difference, recorded, replayed: Box::new(*registers) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ftlog::REGISTER_COUNT;

    fn step(digest: u32, registers: Option<RegisterFile>) -> Step {
        Step {
            time_ns: 0,
            exit: ExitKind::Halt,
            digest,
            entries: None,
            events: Vec::new(),
            registers: registers.map(Box::new),
        }
    }

    #[test]
    fn equal_is_accepted_and_each_difference_is_named() {
        let registers = [0; REGISTER_COUNT];
        let digest = RunningDigest::from_value(5);
        let at = Position(9);
        assert!(verify(at, &step(5, None), ExitKind::Halt, None, digest, &registers).is_ok());

        let exit = verify(at, &step(5, None), ExitKind::Pio, None, digest, &registers).unwrap_err();
        assert_eq!(exit.difference, Difference::Exit { recorded: ExitKind::Halt, replayed: ExitKind::Pio });

        let entry = Step { exit: ExitKind::Pio, entries: Some(7), ..step(5, None) };
        assert!(verify(at, &entry, ExitKind::Pio, Some(7), digest, &registers).is_ok());
        let late = verify(at, &entry, ExitKind::Pio, Some(8), digest, &registers).unwrap_err();
        assert_eq!(late.difference, Difference::Entries { recorded: Some(7), replayed: Some(8) });
        let other = verify(at, &entry, ExitKind::Pio, None, digest, &registers).unwrap_err();
        assert!(
            other.to_string().contains("at kernel entry 7, the replayed at an exit of its own"),
            "{other}"
        );

        let digest = verify(at, &step(6, None), ExitKind::Halt, None, digest, &registers).unwrap_err();
        assert_eq!(digest.difference, Difference::Digest { recorded: 6, replayed: 5 });
        assert!(digest.to_string().contains("#9"));
    }

    #[test]
    fn registers_of_both_sides_are_shown_where_they_differ() {
        let recorded = [1; REGISTER_COUNT];
        let mut replayed = recorded;
        replayed[2] = 0xbad;
        let digest = RunningDigest::from_value(1);
        let error = verify(Position(1), &step(0, Some(recorded)), ExitKind::Halt, None, digest, &replayed)
            .unwrap_err();
        let text = error.to_string();
        assert_eq!(text.matches("<-- differs").count(), 1);
        assert!(text.contains("0x0000000000000bad"));
    }
}
