//! The primary's half: steps into batches.

use ftlog::{EncodeError, Position, StepEncoder, StepRef};

/// A batch is closed when it reaches this size, well below what a frame may hold. One step can add at most
/// [`ftlog::MAX_EVENTS_PER_STEP`] frames to it.
const BATCH_BYTES: usize = 64 << 10;

/// Steps in a row, encoded as the body of one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The position of the last step in it.
    pub last: Position,
    /// How many steps it holds.
    pub steps: u32,
    /// The frame's body.
    pub body: Vec<u8>,
}

/// Collects the steps of an execution.
pub struct Recorder {
    encoder: StepEncoder,
    next: Position,
}

impl Recorder {
    /// A recorder whose first step will be the one after `position`.
    pub fn after(position: Position) -> Self {
        Self { encoder: StepEncoder::new(position.next()), next: position.next() }
    }

    /// Adds the step at `position`, which must follow the one before.
    ///
    /// # Panics
    /// When positions are skipped: that would be a hole in the log, and only a bug in the step loop makes one.
    pub fn record(&mut self, position: Position, step: StepRef<'_>) -> Result<(), EncodeError> {
        assert_eq!(position, self.next, "a log position was skipped");
        self.encoder.push(step)?;
        self.next = position.next();
        Ok(())
    }

    /// True when the batch should be sent without waiting for a reason to.
    pub fn is_full(&self) -> bool {
        self.encoder.len() >= BATCH_BYTES
    }

    /// True when nothing was recorded since the last batch was taken.
    pub fn is_empty(&self) -> bool {
        self.encoder.count() == 0
    }

    /// Bytes of log that the next batch will have, without the frame around it.
    pub fn pending_bytes(&self) -> usize {
        self.encoder.len()
    }

    /// What has been recorded since the last call; `None` when nothing was.
    pub fn take_batch(&mut self) -> Option<Batch> {
        let steps = self.encoder.count();
        if steps == 0 {
            return None;
        }
        let body = self.encoder.take();
        Some(Batch { last: Position(self.next.0 - 1), steps, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ftlog::{Event, ExitKind, decode_steps};

    fn record(recorder: &mut Recorder, n: u64) {
        let events = [Event::ConsoleInput(vec![n as u8])];
        let exit = ExitKind::Halt;
        let step = StepRef { time_ns: n, exit, digest: 0, entries: None, events: &events, registers: None };
        recorder.record(Position(n), step).unwrap();
    }

    #[test]
    fn batches_follow_each_other_without_a_gap() {
        let mut recorder = Recorder::after(Position(7));
        assert!(recorder.take_batch().is_none());
        record(&mut recorder, 8);
        record(&mut recorder, 9);
        let first = recorder.take_batch().unwrap();
        assert_eq!((first.last, first.steps), (Position(9), 2));
        record(&mut recorder, 10);
        let second = decode_steps(&recorder.take_batch().unwrap().body).unwrap();
        assert_eq!((second.first, second.steps.len()), (Position(10), 1));
    }

    #[test]
    #[should_panic(expected = "skipped")]
    fn a_skipped_position_is_a_bug() {
        record(&mut Recorder::after(Position(0)), 2);
    }
}
