//! What the primary and the vCPU thread say.

use std::time::{Duration, Instant};

use ftlog::{Diverged, Frame, FrameKind, Heartbeat, Message, Position, Refuse, Registers, decode_steps};
use machine::snapshot::Seed;
use protocol::{LossReason, secondary::Event};
use replay::Divergence;

use super::{
    copies::Copies,
    replica::{Report, Task},
    session::LinkThread,
};
use crate::link::connection::Connection;

/// How long a diverged secondary waits for the primary's registers.
const EXPLANATION: Duration = Duration::from_millis(500);
/// Frames heard between two looks at the clock, and the bytes in them: what the primary's seed brings is copied to the
/// guest's memory, and a frame of it is as long as frames can be.
const FRAMES_AT_ONCE: usize = 64;
const BYTES_AT_ONCE: usize = 1 << 20;
/// Frames that may come while the machine is made from the seed.
const MAX_DEFERRED: usize = 4096;

/// What was heard since the last look at the clock.
#[derive(Default)]
struct Turn {
    frames: usize,
    bytes: usize,
}

impl Turn {
    fn heard(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes;
    }

    fn is_over(&self) -> bool {
        self.frames >= FRAMES_AT_ONCE || self.bytes >= BYTES_AT_ONCE
    }
}

impl LinkThread {
    /// Not all at once, however much there is: the primary wants to hear of us too.
    pub(super) fn hear_primary(&mut self) {
        self.more_to_hear = false;
        let mut turn = Turn::default();
        while !turn.is_over() {
            let Some(connection) = &mut self.connection else { return };
            if self.copies.as_ref().is_some_and(Copies::is_full) {
                // It is this side that does not listen.
                return self.tell(Event::Heard);
            }
            match connection.receive() {
                Ok(Some(frame)) => {
                    turn.heard(frame.body.len());
                    self.hear(frame);
                }
                Ok(None) => return,
                Err(error) => {
                    let event = Event::Lost(error.into());
                    self.note(&event);
                    return self.tell(event);
                }
            }
        }
        self.more_to_hear = true;
    }

    fn hear(&mut self, frame: Frame) {
        let event = match &mut self.deferred {
            // Not more than the primary may have under way: it stops at the window.
            Some(deferred) if deferred.len() < MAX_DEFERRED => {
                deferred.push(frame);
                Event::Heard
            }
            Some(_) => Event::Lost(LossReason::Damaged),
            None => self.understand(&frame).unwrap_or_else(Event::Lost),
        };
        self.note(&event);
        self.tell(event);
    }

    /// The machine is made: what was deferred is heard now.
    fn loaded(&mut self, position: Position) {
        let deferred = self.deferred.take().unwrap_or_default();
        self.tell(Event::SeedHeld { position });
        deferred.into_iter().for_each(|frame| self.hear(frame));
    }

    fn note(&mut self, event: &Event) {
        if let Event::Lost(reason) = event {
            self.loss = Some(reason.clone());
        }
    }

    /// What a frame means to the core. What the core need not know is done here.
    fn understand(&mut self, frame: &Frame) -> Result<Event, LossReason> {
        let damaged = |error: anyhow::Error| {
            tracing::warn!("the primary's stream: {error:#}");
            LossReason::Damaged
        };
        match frame.kind {
            FrameKind::Begin | FrameKind::BootPages | FrameKind::Pages | FrameKind::State => {
                self.add_to_seed(frame).map_err(damaged)?;
                Ok(Event::Heard)
            }
            FrameKind::DiskRegions | FrameKind::DiskBlock => {
                let copies = self.copies.as_mut().ok_or(LossReason::Damaged)?;
                copies.hear(frame).map_err(damaged)?;
                Ok(Event::Heard)
            }
            FrameKind::Refuse => {
                let reason =
                    Refuse::decode(&frame.body).map_or_else(|error| error.to_string(), |told| told.reason);
                self.site.board.notice(format!("the primary gives up: {reason}"));
                Ok(Event::Lost(LossReason::Closed))
            }
            FrameKind::SeedDone => {
                let seed = self.seed.take().ok_or(LossReason::Damaged)?;
                // No more blocks: whoever writes them comes to an end, which the loading of the seed waits for.
                self.copies = None;
                // The core hears of it when it is loaded: see `loaded`.
                let _ = self.tasks.send(Task::Load(Box::new(seed)));
                self.deferred = Some(Vec::new());
                Ok(Event::Heard)
            }
            FrameKind::Steps => self.receive_steps(frame).map_err(damaged),
            FrameKind::Heartbeat => {
                let beat = Heartbeat::decode(&frame.body).map_err(|error| damaged(error.into()))?;
                self.primary_position = beat.position;
                self.lock_unreleased().released(beat.released);
                Ok(Event::Heartbeat { released: beat.released })
            }
            FrameKind::Detach => Ok(Event::Detached),
            FrameKind::Registers => Ok(Event::Heard),
            kind => Err(damaged(anyhow::anyhow!("a {kind:?} frame has no place there"))),
        }
    }

    fn add_to_seed(&mut self, frame: &Frame) -> anyhow::Result<()> {
        match &mut self.seed {
            Some(seed) => {
                seed.add(frame)?;
            }
            None => {
                let seed = Seed::begin(frame)?;
                let manifest = seed.manifest();
                anyhow::ensure!(
                    manifest.vm == self.identity.vm && manifest.shape == self.identity.shape,
                    "the seed is of another VM than the handshake said"
                );
                self.seed = Some(seed);
            }
        }
        Ok(())
    }

    fn receive_steps(&mut self, frame: &Frame) -> anyhow::Result<Event> {
        let bytes = frame.body.len() as u64;
        let batch = decode_steps(&frame.body)?;
        let first = batch.first;
        let through = Position(first.0.saturating_add(batch.steps.len() as u64 - 1));
        self.log_bytes += bytes;
        self.waiting.push_back((through, Task::Execute { batch, bytes }));
        Ok(Event::Received { first, through, bytes })
    }

    pub(super) fn read_reports(&mut self) {
        self.letters.acknowledge();
        while let Some(report) = self.letters.next() {
            match report {
                Report::Loaded { position } => self.loaded(position),
                Report::Executed { through, bytes, time_ns } => {
                    self.executed_time_ns = time_ns;
                    self.tell(Event::Executed { through, bytes });
                }
                Report::Diverged(divergence) => self.diverged(divergence),
                Report::Failed { position, reason } => {
                    self.failure = Some(reason);
                    self.tell(Event::Failed { position });
                }
                Report::Claimed(generation, outcome) => {
                    self.site.board.notice_once(format!("arbiter, generation {generation}: {outcome}"));
                    self.tell(Event::Claimed { generation, outcome });
                }
                // That it was told has ended the wait for it.
                Report::Room => {}
                Report::Ended => self.done = true,
            }
        }
    }

    /// Says so to the primary, fetches its registers, and shows both sides'.
    fn diverged(&mut self, mut divergence: Divergence) {
        let position = divergence.position;
        if let Some(connection) = &mut self.connection {
            let text = divergence.difference.to_string();
            if let Ok(body) = Diverged::new(position, text, *divergence.replayed).encode() {
                connection.send(FrameKind::Diverged, &body);
                divergence.recorded = primary_registers(connection, position);
            }
        }
        self.site.board.notice(divergence.to_string());
        self.tell(Event::Diverged { position });
    }
}

fn primary_registers(connection: &mut Connection, position: Position) -> Option<Box<ftlog::RegisterFile>> {
    let deadline = Instant::now() + EXPLANATION;
    while Instant::now() < deadline {
        let frame = connection.receive_within(EXPLANATION).ok()?;
        if frame.kind == FrameKind::Registers {
            let answer = Registers::decode(&frame.body).ok()?;
            return answer.registers.filter(|_| answer.position == position).map(Box::new);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_over_after_a_frame_of_the_seed_or_many_short_ones() {
        let mut turn = Turn::default();
        turn.heard(ftlog::PAGES_PER_FRAME * ftlog::PAGE_SIZE);
        assert!(turn.is_over());

        let mut turn = Turn::default();
        (1..FRAMES_AT_ONCE).for_each(|_| turn.heard(100));
        assert!(!turn.is_over());
        turn.heard(100);
        assert!(turn.is_over());
    }
}
