//! What the core asks for, done.

use std::sync::{MutexGuard, PoisonError};

use devices::Output;
use ftlog::{Ack, Condition, FrameKind, Generation, Heartbeat, Message, Position, Refuse};
use protocol::{arbiter::ClaimOutcome, commit::Unreleased, secondary::Effect};

use super::{
    replica::{Report, Task},
    session::LinkThread,
};
use crate::{host::reserve, link::connection::Connection};

impl LinkThread {
    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::SendHeartbeat => {
                let (position, time_ns) = (self.core.executed_through(), self.executed_time_ns);
                let beat = Heartbeat {
                    position,
                    released: Position(0),
                    time_ns,
                    lease_ns: 0,
                    condition: Condition::default(),
                };
                self.send(FrameKind::Heartbeat, &beat.encode());
            }
            Effect::SendSeedHeld { position } => {
                self.site.board.notice(format!("following the primary from {position}"));
                self.site.put_aside();
                self.send(FrameKind::SeedHeld, &position.0.to_le_bytes());
            }
            Effect::SendAck { received, executed, executed_bytes } => {
                let executed_time_ns = self.executed_time_ns;
                let condition = Condition::default();
                let ack = Ack { received, executed, executed_time_ns, executed_bytes, condition };
                self.send(FrameKind::Ack, &ack.encode());
                self.flush();
            }
            Effect::Replay { through } => self.hand_out(through),
            Effect::DropPeer { reason } => {
                self.connection = None;
                self.site.board.notice(format!("the primary is lost: {reason}"));
                self.loss = Some(reason);
            }
            Effect::Claim { generation } => self.claim(generation),
            Effect::GoLive { generation, from } => {
                let loss = self.loss.as_ref().map_or_else(String::new, ToString::to_string);
                let recovery = self.core.recovery();
                let _ = self.tasks.send(Task::GoLive { generation, from, recovery, loss });
                self.done = true;
            }
            Effect::Discard { reason } => {
                let why = self.failure.take().map_or_else(String::new, |why| format!(": {why}"));
                self.discard(&format!("{reason}{why}"));
            }
        }
    }

    fn discard(&mut self, reason: &str) {
        if let (Some(connection), Ok(body)) = (&mut self.connection, Refuse::new(reason).encode()) {
            connection.send(FrameKind::Refuse, &body);
            let _ = connection.flush();
        }
        self.connection = None;
        let _ = self.tasks.send(Task::Discard(reason.to_owned()));
        self.done = true;
    }

    fn hand_out(&mut self, through: Position) {
        while self.waiting.front().is_some_and(|(last, _)| *last <= through) {
            if let Some((_, task)) = self.waiting.pop_front() {
                let _ = self.tasks.send(task);
            }
        }
    }

    /// On a thread of its own: a shared directory may take long to answer.
    fn claim(&self, generation: Generation) {
        let (site, identity, reports) = (self.site.clone(), self.identity.clone(), self.reports.clone());
        let primary = self.primary_holder.clone();
        reserve::spend();
        let spawned = reserve::spawn("claim", move || {
            reports
                .send(Report::Claimed(generation, site.claim(&identity, generation, Some(&primary), false)));
        });
        if let Err(error) = spawned {
            // It was not asked, so it is asked again.
            let outcome = ClaimOutcome::Unavailable { reason: format!("no thread to ask it: {error}") };
            self.reports.send(Report::Claimed(generation, outcome));
        }
    }

    pub(super) fn send(&mut self, kind: FrameKind, body: &[u8]) {
        if let Some(connection) = &mut self.connection {
            connection.send(kind, body);
        }
    }

    pub(super) fn flush(&mut self) {
        if let Some(Err(error)) = self.connection.as_mut().map(Connection::flush) {
            // Reading tells the same and more: what still waits to be read is worth having.
            tracing::debug!(%error, "connection to the primary");
        }
    }

    pub(super) fn lock_unreleased(&self) -> MutexGuard<'_, Unreleased<Output>> {
        self.unreleased.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
