//! What a frame of the primary means, and when.

use alloc::{boxed::Box, string::ToString, vec::Vec};

use ftlog::{Delta, Frame, FrameKind, Heartbeat, Message, Refuse, Registers, decode_steps};

use super::backlog::Batch;
use super::{Action, Event, Follower, Stage};
use crate::fence::LONGEST_LEASE_NS;
use crate::sabotage::{self, Check};
use crate::{LossReason, Violation};

impl Follower {
    pub(super) fn hear(&mut self, frame: Frame, now_ns: u64, actions: &mut Vec<Action>) {
        if self.over || !self.is_connected() {
            return;
        }
        if self.explaining.is_some() {
            return self.hear_explanation(&frame, now_ns, actions);
        }
        let event = self.understand(frame, actions).unwrap_or_else(Event::Lost);
        if event == Event::Detached && self.off.is_some() {
            // It goes on alone with a guest that has switched itself off: there is nothing to go on with.
            self.primary_ended = true;
        } else {
            self.tell(event, now_ns, actions);
        }
        self.end_if_all_is_said(actions);
    }

    fn understand(&mut self, frame: Frame, actions: &mut Vec<Action>) -> Result<Event, LossReason> {
        match frame.kind {
            FrameKind::Steps => self.hear_steps(&frame),
            FrameKind::AskPages => self.hear_question(&frame, actions),
            FrameKind::Heartbeat => self.hear_heartbeat(&frame, actions),
            FrameKind::Detach => Ok(Event::Detached),
            FrameKind::End => {
                self.primary_ended = true;
                Ok(Event::Heard)
            }
            FrameKind::Refuse => {
                let reason =
                    Refuse::decode(&frame.body).map_or_else(|error| error.to_string(), |told| told.reason);
                actions.push(Action::GivenUp { reason });
                Err(LossReason::Closed)
            }
            // Of a divergence that was given up meanwhile.
            FrameKind::Registers => Ok(Event::Heard),
            _ if self.stage == Stage::Receiving => self.hear_seed(frame, actions),
            _ => self.hear_delta(frame),
        }
    }

    fn hear_seed(&mut self, frame: Frame, actions: &mut Vec<Action>) -> Result<Event, LossReason> {
        match frame.kind {
            FrameKind::Begin | FrameKind::BootPages | FrameKind::Pages | FrameKind::State => {
                actions.push(Action::Seed(frame));
            }
            FrameKind::DiskRegions | FrameKind::DiskBlock if self.has_copies => {
                actions.push(Action::Copy(frame));
            }
            // Whatever came before it is received: the answer shows how long that took.
            FrameKind::SeedRound if frame.body.len() == size_of::<u64>() => {
                actions.push(Action::Send { kind: FrameKind::SeedRound, body: frame.body });
            }
            FrameKind::SeedDone if self.has_copies => {
                self.stage = Stage::Copying;
                actions.push(Action::FinishCopies);
            }
            FrameKind::SeedDone => self.load(actions),
            _ => return Err(LossReason::Damaged),
        }
        Ok(Event::Heard)
    }

    fn hear_steps(&mut self, frame: &Frame) -> Result<Event, LossReason> {
        let bytes = frame.body.len() as u64;
        let steps = decode_steps(&frame.body).map_err(|_| LossReason::Damaged)?;
        let delta = self.arriving.take_for(&steps).map_err(|_| LossReason::Damaged)?;
        let bytes = bytes + delta.as_ref().map_or(0, Delta::bytes);
        let batch = Batch { steps, delta, bytes };
        if matches!(self.stage, Stage::Receiving | Stage::Loaded) {
            return Ok(self.take_in(batch));
        }
        // No more than the primary may have under way: it stops at the window.
        if self.backlog.defer(batch) { Ok(Event::Heard) } else { Err(LossReason::Damaged) }
    }

    /// It counts with the log behind it.
    fn hear_delta(&mut self, frame: Frame) -> Result<Event, LossReason> {
        let heard = match frame.kind {
            FrameKind::Pages => self.arriving.add_pages(frame.body),
            FrameKind::Delta => self.arriving.complete(&frame.body),
            _ => return Err(LossReason::Damaged),
        };
        heard.map(|()| Event::Heard).map_err(|_| LossReason::Damaged)
    }

    /// One at a time: the answer is long.
    fn hear_question(&mut self, frame: &Frame, actions: &mut Vec<Action>) -> Result<Event, LossReason> {
        let key = frame.body.as_slice().try_into().map_err(|_| LossReason::Damaged)?;
        let key = u64::from_le_bytes(key);
        if core::mem::replace(&mut self.asked, true) {
            return Err(LossReason::Damaged);
        }
        match self.stage {
            Stage::Receiving => return Err(LossReason::Damaged),
            Stage::Copying | Stage::Loading => self.backlog.defer_question(key),
            Stage::Loaded => actions.push(Action::TellPages { key }),
        }
        Ok(Event::Heard)
    }

    pub(super) fn take_in(&mut self, batch: Batch) -> Event {
        let (first, through, bytes) = (batch.steps.first, batch.through(), batch.bytes);
        self.log_bytes = self.log_bytes.saturating_add(bytes);
        self.backlog.hold(batch);
        Event::Received { first, through, bytes }
    }

    fn hear_heartbeat(&mut self, frame: &Frame, actions: &mut Vec<Action>) -> Result<Event, LossReason> {
        let beat = Heartbeat::decode(&frame.body).map_err(|_| LossReason::Damaged)?;
        let Heartbeat { position, released, lease_ns, condition, time_ns: _ } = beat;
        if lease_ns > LONGEST_LEASE_NS && !sabotage::disabled(Check::Lease) {
            return Err(Violation::Lease { lease_ns }.into());
        }
        self.primary_position = self.primary_position.max(position);
        self.released = self.released.max(released);
        self.lease_ns = self.lease_ns.max(lease_ns);
        actions.push(Action::Released { through: released });
        Ok(Event::Heartbeat { released, condition })
    }

    /// Nothing but an explanation, or the end of all hope for one, matters to a machine that diverged.
    fn hear_explanation(&mut self, frame: &Frame, now_ns: u64, actions: &mut Vec<Action>) {
        let asked = self.explaining.map(|explaining| explaining.position);
        match frame.kind {
            FrameKind::Registers => {
                let told = Registers::decode(&frame.body).ok().filter(|told| Some(told.position) == asked);
                self.explained(told.and_then(|told| told.registers).map(Box::new), now_ns, actions);
            }
            FrameKind::Refuse | FrameKind::Detach => self.explained(None, now_ns, actions),
            _ => {}
        }
    }
}
