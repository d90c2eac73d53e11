//! The marks of both processes, joined by position.

use std::collections::BTreeMap;

use ftlog::Position;
use replay::trace::{Mark, Stage};

/// How many stages an output passes after the first mark.
pub const STEPS: usize = Stage::ALL.len() - 1;

/// When each position came to each stage first, and when link threads were woken, ns.
struct Marks {
    first: BTreeMap<(Stage, Position), u64>,
    wakes: BTreeMap<Stage, Vec<u64>>,
}

impl Marks {
    fn of(marks: &[Mark]) -> Self {
        let (mut first, mut wakes) = (BTreeMap::new(), BTreeMap::<_, Vec<u64>>::new());
        for mark in marks {
            match mark.stage {
                Stage::PrimaryWoken | Stage::SecondaryWoken => {
                    wakes.entry(mark.stage).or_default().push(mark.ns);
                }
                stage => {
                    first.entry((stage, mark.position)).or_insert(mark.ns);
                }
            }
        }
        Self { first, wakes }
    }

    /// When the first position from `position` on came to `stage`: batches and acknowledgements cover all before them.
    fn covered(&self, stage: Stage, position: Position) -> Option<u64> {
        let mut from = self.first.range((stage, position)..);
        from.next().filter(|((found, _), _)| *found == stage).map(|(_, ns)| *ns)
    }

    /// The last time before `ns` that a link thread was woken.
    fn woken(&self, stage: Stage, ns: u64) -> Option<u64> {
        let wakes = self.wakes.get(&stage)?;
        wakes.get(wakes.partition_point(|wake| *wake <= ns).checked_sub(1)?).copied()
    }

    /// When an output of `position` came to each stage.
    fn times(&self, position: Position, answered_ns: &[u64]) -> Option<[u64; STEPS + 1]> {
        let mut times = [0; STEPS + 1];
        for (time, stage) in times.iter_mut().zip(Stage::ALL) {
            *time = match stage {
                // Known when what the thread did then is.
                Stage::SecondaryWoken | Stage::PrimaryWoken => 0,
                Stage::Exited | Stage::Released | Stage::Emitted => *self.first.get(&(stage, position))?,
                stage => self.covered(stage, position)?,
            };
        }
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            if matches!(stage, Stage::SecondaryWoken | Stage::PrimaryWoken) {
                let woken = self.woken(stage, times[index + 1])?;
                // Woken by something earlier, it was awake when this was sent.
                times[index] = if woken < times[index - 2] { times[index - 1] } else { woken };
            }
        }
        // A thread that wakes another makes its mark when the system call returns. The other may be further by then, as
        // the client may be who waits for what comes out of the TAP device.
        let released_ns = times[STEPS - 1];
        let answered = answered_ns.get(answered_ns.partition_point(|ns| *ns < released_ns));
        times[STEPS] = times[STEPS].min(answered.copied().unwrap_or(u64::MAX));
        for index in (0..STEPS).rev() {
            times[index] = times[index].min(times[index + 1]);
        }
        Some(times)
    }
}

/// What each stage took each output that was let out between `from_ns` and `to_ns`, ns. The client had its answers at
/// `answered_ns`. Outputs that did not wait for the secondary are not among them.
pub fn join(
    primary: &[Mark],
    secondary: &[Mark],
    [from_ns, to_ns]: [u64; 2],
    answered_ns: &[u64],
) -> Vec<[u64; STEPS]> {
    let all: Vec<Mark> = primary.iter().chain(secondary).copied().collect();
    let marks = Marks::of(&all);
    let emitted = marks.first.range((Stage::Emitted, Position(0))..);
    let within = emitted.filter(|(_, ns)| (from_ns..to_ns).contains(*ns));
    let times = within.filter_map(|((_, position), _)| marks.times(*position, answered_ns));
    times.map(|times| std::array::from_fn(|index| times[index + 1] - times[index])).collect()
}

/// How many marks of `stage` there are between `from_ns` and `to_ns`.
pub fn count(marks: &[Mark], stage: Stage, from_ns: u64, to_ns: u64) -> usize {
    marks.iter().filter(|mark| mark.stage == stage && (from_ns..to_ns).contains(&mark.ns)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(of: &[(Stage, u64, u64)]) -> Vec<Mark> {
        of.iter().map(|&(stage, position, ns)| Mark { stage, position: Position(position), ns }).collect()
    }

    fn primary() -> Vec<Mark> {
        marks(&[
            (Stage::PrimaryWoken, 0, 1),
            (Stage::Exited, 4, 100),
            (Stage::Exited, 5, 110),
            (Stage::Closed, 5, 120),
            (Stage::Taken, 5, 130),
            (Stage::Sent, 5, 140),
            (Stage::PrimaryWoken, 0, 190),
            (Stage::Heard, 6, 200),
            (Stage::Released, 5, 201),
            (Stage::Emitted, 5, 210),
            (Stage::Emitted, 6, 220),
        ])
    }

    #[test]
    fn an_output_is_followed_through_the_batch_and_the_acknowledgement_that_cover_it() {
        let secondary = marks(&[
            (Stage::SecondaryWoken, 0, 150),
            (Stage::Decoded, 5, 160),
            (Stage::Acknowledged, 6, 170),
            (Stage::SecondaryWoken, 0, 180),
        ]);
        let joined = join(&primary(), &secondary, [0, 1_000], &[]);
        assert_eq!(joined, [[10, 10, 10, 10, 10, 10, 20, 10, 1, 9]], "and not of 6, whose exit is not known");
        assert_eq!(joined[0].iter().sum::<u64>(), 210 - 110);
        assert_eq!(join(&primary(), &secondary, [211, 1_000], &[]), [[0; STEPS]; 0]);
    }

    #[test]
    fn a_thread_that_was_awake_takes_no_time_to_wake() {
        let secondary =
            marks(&[(Stage::SecondaryWoken, 0, 50), (Stage::Decoded, 5, 160), (Stage::Acknowledged, 5, 170)]);
        assert_eq!(join(&primary(), &secondary, [0, 1_000], &[]), [[10, 10, 10, 0, 20, 10, 20, 10, 1, 9]]);
    }

    #[test]
    fn what_the_client_has_is_out() {
        let secondary = marks(&[
            (Stage::SecondaryWoken, 0, 150),
            (Stage::Decoded, 5, 160),
            (Stage::Acknowledged, 6, 170),
        ]);
        let joined = join(&primary(), &secondary, [0, 1_000], &[200, 204, 300]);
        assert_eq!(joined[0][STEPS - 1], 204 - 201);
    }

    #[test]
    fn marks_are_counted_within_a_time() {
        assert_eq!(count(&primary(), Stage::Exited, 0, 110), 1);
        assert_eq!(count(&primary(), Stage::Exited, 100, 111), 2);
    }
}
