//! The actions of the follower, done.

use std::sync::PoisonError;

use ftlog::{Ack, FrameKind, Generation};
use protocol::{
    LossReason,
    arbiter::ClaimOutcome,
    secondary::follower::{Action, Input},
};
use replay::{
    Divergence,
    trace::{self, Stage},
};

use super::{
    copies::Copies,
    messages::{GoLive, Report, Task},
    thread::LinkThread,
};
use crate::host::reserve;

impl LinkThread {
    /// Does what the follower has decided.
    pub(super) fn carry_out(&mut self, action: Action) {
        match action {
            Action::Send { kind, body } => {
                let received =
                    Ack::decode(&body).ok().filter(|_| kind == FrameKind::Ack).map(|ack| ack.received);
                received.inspect(|through| trace::mark(Stage::Decoded, *through));
                self.peer.send(kind, &body);
                // The primary's outputs wait for it.
                if let Some(through) = received {
                    self.peer.flush();
                    trace::mark(Stage::Acknowledged, through);
                }
            }
            Action::Seed(frame) => {
                let added = self.arrival.add(&frame, &self.identity);
                self.unless_unusable(added);
            }
            Action::Copy(frame) => {
                let copied = self.arrival.copy(frame);
                self.unless_unusable(copied);
            }
            Action::FinishCopies => self.arrival.copies.iter_mut().for_each(Copies::finish),
            Action::Load => match self.arrival.take() {
                Some(seed) => self.give(Task::Load(Box::new(seed))),
                None => self.tell(Input::Lost(LossReason::Damaged)),
            },
            Action::Following { position } => {
                self.site.board.notice(format!("following the primary from {position}"));
                self.site.put_aside();
            }
            Action::Execute { batch, delta, bytes } => self.give(Task::Execute { batch, delta, bytes }),
            Action::TellPages { key } => self.give(Task::ShowMemory(key)),
            Action::Released { through } => {
                self.unreleased.lock().unwrap_or_else(PoisonError::into_inner).released(through);
            }
            Action::GivenUp { reason } => {
                self.site.board.notice(format!("the primary gives up: {reason}"));
            }
            Action::Explained { registers } => {
                if let Some(divergence) = self.divergence.take() {
                    self.site.board.notice(Divergence { recorded: registers, ..divergence }.to_string());
                }
            }
            Action::DropPeer { reason } => {
                self.peer.drop_it();
                self.site.board.notice(format!("the primary is lost: {reason}"));
                self.give(Task::CatchUp);
            }
            Action::Claim { generation } => self.claim(generation),
            Action::GoLive { generation, from, recovery, loss, lease_ns } => {
                self.settle(Task::GoLive(GoLive { generation, from, recovery, loss, lease_ns }));
            }
            Action::Discard { reason } => self.discard(reason.to_string()),
            Action::End => self.settle(Task::End),
        }
    }

    fn unless_unusable(&mut self, result: anyhow::Result<()>) {
        if let Err(error) = result {
            self.tell(Input::Unusable { reason: format!("{error:#}") });
        }
    }

    fn give(&self, task: Task) {
        // Nobody takes it when the vCPU thread was stopped.
        let _ = self.tasks.send(task);
    }

    fn settle(&mut self, task: Task) {
        self.settled = true;
        self.peer.drop_it();
        self.give(task);
    }

    /// Whatever waits to be executed is overtaken.
    fn discard(&mut self, reason: String) {
        self.quit.throw();
        self.arrival.end();
        self.peer.refuse(&reason);
        self.settle(Task::Discard(reason));
    }

    /// On a thread of its own: a shared directory may take long to answer.
    fn claim(&self, generation: Generation) {
        let (site, identity, reports) = (self.site.clone(), self.identity.clone(), self.reports.clone());
        let primary = self.primary_holder.clone();
        reserve::spend();
        let spawned = reserve::spawn("claim", move || {
            let outcome = site.claim(&identity, generation, Some(&primary), false);
            reports.send(Report::Claimed(generation, outcome));
        });
        if let Err(error) = spawned {
            // It was not asked, so it is asked again.
            let outcome = ClaimOutcome::Unavailable { reason: format!("no thread to ask it: {error}") };
            self.reports.send(Report::Claimed(generation, outcome));
        }
    }
}
