//! One connection to a secondary, from Welcome to its loss.

use alloc::collections::VecDeque;

use ftlog::{Condition, Position};

use super::api::{Batch, Link};
use super::lag::Lag;
use super::pace::Load;
use crate::detector::Detector;
use crate::sabotage::{self, Check};
use crate::{Config, LossReason, Violation};

/// How far the seed is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Seed {
    /// The VM is to be paused.
    Asked,
    /// Its state at this position is on its way, without the final frame.
    Sending(Position),
    /// The final frame may be on its way: the peer may hold the whole state.
    Armed(Position),
    /// The peer says that it does.
    Held(Position),
}

/// How far the peer says it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Progress {
    pub(super) received: Position,
    pub(super) executed: Position,
    pub(super) executed_bytes: u64,
}

/// What is known of a peer and what it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Session {
    pub(super) link: Link,
    pub(super) detector: Detector,
    seed: Seed,
    window_bytes: u64,
    /// The last position sent, and the log sent since the seed.
    sent: Position,
    sent_bytes: u64,
    /// What was recorded since and does not fit in the window yet.
    unsent: VecDeque<Batch>,
    unsent_bytes: u64,
    peer: Progress,
    condition: Condition,
    lag: Lag,
}

impl Session {
    pub(super) fn new(link: Link, window_bytes: u64, config: &Config, now_ns: u64) -> Self {
        Self {
            link,
            detector: Detector::new(config, now_ns),
            seed: Seed::Asked,
            window_bytes,
            sent: Position(0),
            sent_bytes: 0,
            unsent: VecDeque::new(),
            unsent_bytes: 0,
            condition: Condition::default(),
            peer: Progress { received: Position(0), executed: Position(0), executed_bytes: 0 },
            lag: Lag::new(config.max_lag_ns),
        }
    }

    /// Whether the peer may hold a whole state.
    pub(super) fn is_armed(&self) -> bool {
        matches!(self.seed, Seed::Armed(_) | Seed::Held(_))
    }

    pub(super) fn received(&self) -> Option<Position> {
        matches!(self.seed, Seed::Held(_)).then_some(self.peer.received)
    }

    pub(super) fn executed(&self) -> Option<Position> {
        matches!(self.seed, Seed::Held(_)).then_some(self.peer.executed)
    }

    pub(super) fn seed_started(&mut self, position: Position) {
        if self.seed == Seed::Asked {
            self.seed = Seed::Sending(position);
        }
    }

    /// All but the last frame of the seed is on its way. Gives the seed's position, unless no seed was under way.
    pub(super) fn arm(&mut self) -> Option<Position> {
        let Seed::Sending(position) = self.seed else { return None };
        self.seed = Seed::Armed(position);
        self.sent = position;
        self.peer = Progress { received: position, executed: position, executed_bytes: 0 };
        Some(position)
    }

    pub(super) fn seed_held(&mut self, position: Position) -> Result<(), Violation> {
        match self.seed {
            Seed::Armed(sent) if sent == position => {
                self.seed = Seed::Held(position);
                Ok(())
            }
            Seed::Armed(sent) | Seed::Sending(sent) | Seed::Held(sent) => {
                Err(Violation::Seed { sent: Some(sent), found: position })
            }
            Seed::Asked => Err(Violation::Seed { sent: None, found: position }),
        }
    }

    /// A batch was recorded. False if it is not for this peer: before the seed's last frame, log is part of the seed.
    pub(super) fn recorded(&mut self, batch: Batch) -> bool {
        if !self.is_armed() || batch.through <= self.sent {
            return false;
        }
        self.lag.recorded(batch.through, batch.since_ns);
        self.unsent_bytes = self.unsent_bytes.saturating_add(batch.bytes);
        self.unsent.push_back(batch);
        true
    }

    /// What may be sent now, which then counts as sent: as much as the peer's window takes, or what is larger than that alone.
    pub(super) fn take_sendable(&mut self) -> Option<Position> {
        let mut through = None;
        while let Some(batch) = self.unsent.pop_front_if(|batch| {
            let waits_bytes = self.sent_bytes.saturating_sub(self.peer.executed_bytes);
            waits_bytes == 0 || waits_bytes.saturating_add(batch.bytes) <= self.window_bytes
        }) {
            self.unsent_bytes -= batch.bytes;
            self.sent = batch.through;
            self.sent_bytes = self.sent_bytes.saturating_add(batch.bytes);
            through = Some(batch.through);
        }
        through
    }

    /// How the peer was when it last said so.
    pub(super) fn condition(&self) -> Condition {
        self.condition
    }

    /// The peer says how it is.
    pub(super) fn told(&mut self, condition: Condition, config: &Config) -> Result<(), LossReason> {
        self.condition = condition;
        let stalled_ns = condition.stalled_ns;
        let follows = matches!(self.seed, Seed::Held(_));
        if follows && stalled_ns > config.stall_ns() && !sabotage::disabled(Check::Stall) {
            return Err(LossReason::Stalled { stalled_ns });
        }
        Ok(())
    }

    /// The peer has executed nothing for so long that it is of no use, whatever it says of itself.
    pub(super) fn standstill(&mut self, now_ns: u64, config: &Config) -> Option<LossReason> {
        let stalled_ns = self.lag.standstill_ns(now_ns, config.heartbeat_ns());
        let lost = stalled_ns > config.standstill_ns() && !sabotage::disabled(Check::Standstill);
        lost.then_some(LossReason::Stalled { stalled_ns })
    }

    /// Takes the peer's word, after checking it. Gives the position through which it newly holds the log.
    pub(super) fn acknowledged(
        &mut self,
        said: Progress,
        now_ns: u64,
    ) -> Result<Option<Position>, LossReason> {
        self.check(&said)?;
        let news = (said.received > self.peer.received).then_some(said.received);
        if said.executed > self.peer.executed {
            self.lag.executed(said.executed, now_ns);
        }
        self.peer = said;
        Ok(news)
    }

    fn check(&self, said: &Progress) -> Result<(), Violation> {
        if !matches!(self.seed, Seed::Held(_)) {
            return Err(Violation::AckEarly { acknowledged: said.received });
        }
        if said.received > self.sent && !sabotage::disabled(Check::AckBound) {
            return Err(Violation::AckAhead { acknowledged: said.received, sent: self.sent });
        }
        let back = said.received < self.peer.received || said.executed < self.peer.executed;
        if back || said.executed > said.received {
            return Err(Violation::AckOrder {
                received: said.received,
                executed: said.executed,
                before_received: self.peer.received,
                before_executed: self.peer.executed,
            });
        }
        if said.executed_bytes < self.peer.executed_bytes || said.executed_bytes > self.sent_bytes {
            return Err(Violation::AckBytes {
                executed_bytes: said.executed_bytes,
                before_bytes: self.peer.executed_bytes,
                sent_bytes: self.sent_bytes,
            });
        }
        Ok(())
    }

    /// What waits for this peer; the gate's part is the caller's.
    pub(super) fn load(&self, now_ns: u64) -> Load {
        Load {
            age_ns: self.lag.age_ns(now_ns),
            log_bytes: self.sent_bytes.saturating_sub(self.peer.executed_bytes) + self.unsent_bytes,
            window_bytes: self.window_bytes,
            ..Load::default()
        }
    }
}
