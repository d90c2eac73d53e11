//! How much of the log a secondary holds, and how much of that it has executed.

use ftlog::Position;

use super::DiscardReason;
use crate::sabotage::{self, Check};

/// Counts positions and bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Log {
    window_bytes: u64,
    pub(super) received: Position,
    received_bytes: u64,
    pub(super) executed: Position,
    pub(super) executed_bytes: u64,
}

impl Log {
    pub(super) fn new(window_bytes: u64) -> Self {
        let (received, executed) = (Position(0), Position(0));
        Self { window_bytes, received, received_bytes: 0, executed, executed_bytes: 0 }
    }

    /// It comes after this position.
    pub(super) fn begin(&mut self, after: Position) {
        self.received = after;
        self.executed = after;
    }

    /// A batch is here, which must follow the last one and fit the window.
    pub(super) fn take(
        &mut self,
        first: Position,
        through: Position,
        bytes: u64,
    ) -> Result<(), DiscardReason> {
        let expected = self.received.next();
        if (first != expected || through < first) && !sabotage::disabled(Check::Gap) {
            return Err(DiscardReason::LogGap { expected, found: first, through });
        }
        let (unexecuted_bytes, window_bytes) = (self.lag_bytes().saturating_add(bytes), self.window_bytes);
        // A delta may have more than that: it comes when nothing else waits.
        if unexecuted_bytes > window_bytes && self.lag_bytes() > 0 {
            return Err(DiscardReason::WindowExceeded { unexecuted_bytes, window_bytes });
        }
        self.received = through;
        self.received_bytes = self.received_bytes.saturating_add(bytes);
        Ok(())
    }

    /// The VM has come so far, and finished so many bytes on the way.
    pub(super) fn execute(&mut self, through: Position, bytes: u64) -> Result<(), DiscardReason> {
        if through > self.received {
            return Err(DiscardReason::RanAhead { executed: through, received: self.received });
        }
        self.executed = self.executed.max(through);
        self.executed_bytes = self.executed_bytes.saturating_add(bytes).min(self.received_bytes);
        Ok(())
    }

    pub(super) fn is_drained(&self) -> bool {
        self.executed == self.received
    }

    pub(super) fn lag_bytes(&self) -> u64 {
        self.received_bytes.saturating_sub(self.executed_bytes)
    }
}
