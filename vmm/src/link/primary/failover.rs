//! What the operator asks of a primary.

use std::{
    thread,
    time::{Duration, Instant},
};

use ftlog::{Hello, Purpose};
use protocol::primary::{Event, Phase};
use serde_json::{Value, json};

use super::{orders::Halted, thread::LinkThread};
use crate::{
    control::{Pending, Request, Status},
    link::handshake::query,
};

/// How long a secondary may take to take over on request.
const TAKEOVER_PATIENCE: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(20);

impl LinkThread {
    pub(super) fn command(&mut self, pending: Pending) {
        if self.detaching.is_some() || self.failing.is_some() {
            return pending.refuse("another command is being carried out");
        }
        match pending.request.clone() {
            Request::Status => pending.refuse("status is answered elsewhere"),
            Request::Protect { to } => self.protect(pending, to),
            Request::TestFailover => self.fail_on_purpose(pending),
            Request::TestRestartSecondary => {
                let peer = self.connector.peer().map(str::to_owned);
                self.detach(pending, peer, "there is no secondary to restart");
            }
            Request::Suspend => {
                self.suspended = self.connector.peer().map(str::to_owned).or(self.suspended.take());
                self.detach(pending, None, "there is no secondary to let go of");
            }
            Request::Resume => match self.suspended.take() {
                Some(peer) => self.protect(pending, peer),
                None => pending.refuse("protection is not suspended"),
            },
            Request::TurnOff => {
                self.suspended = None;
                self.detach(pending, None, "there is no secondary to let go of");
            }
            Request::MigrateSecondary { to } => {
                self.detach(pending, Some(to), "there is no secondary to move; use protect");
            }
        }
    }

    fn protect(&mut self, pending: Pending, to: String) {
        match self.core.phase() {
            Phase::Unprotected => {
                self.suspended = None;
                self.connector.set_peer(Some(to.clone()));
                pending.done(json!({ "peer": to }));
            }
            Phase::Seeding | Phase::Protected => {
                pending.refuse("the VM has a secondary already; use migrate-secondary to move it");
            }
            phase => pending.refuse(format!("not now: this side is {phase}")),
        }
    }

    /// Lets go of the secondary and looks for one at `peer` afterwards.
    fn detach(&mut self, pending: Pending, peer: Option<String>, without: &str) {
        match self.core.phase() {
            Phase::Seeding | Phase::Protected => {
                self.detaching = Some((pending, peer));
                self.tell(Event::Detach);
            }
            Phase::Unprotected if self.connector.peer().is_some() && peer.is_none() => {
                self.connector.set_peer(None);
                self.answer_detached(pending);
            }
            Phase::Unprotected => pending.refuse(without),
            phase => pending.refuse(format!("not now: this side is {phase}")),
        }
    }

    /// Says what is off now and what is not: "turn-off" and "suspend" could be of the VM.
    pub(super) fn answer_detached(&self, pending: Pending) {
        let protection = match (&pending.request, &self.suspended, self.connector.peer()) {
            (Request::Suspend, Some(peer), _) => format!("suspended; `resume` looks for {peer} again"),
            (_, _, Some(peer)) => format!("off until {peer} answers as the secondary"),
            _ => "off until `protect`".to_owned(),
        };
        let (generation, peer) = (self.core.generation().0, self.connector.peer());
        pending.done(json!({
            "protection": protection,
            "vm": "runs on here, unprotected",
            "generation": generation,
            "peer": peer,
        }));
    }

    /// Stops as a dead host would, with nothing said to anybody: what the gate holds is lost to this side.
    fn fail_on_purpose(&mut self, pending: Pending) {
        let Some(peer) = self.connector.peer().map(str::to_owned) else {
            return pending.refuse("the VM would be lost: it has no secondary");
        };
        if self.core.phase() != Phase::Protected {
            let phase = self.core.phase();
            return pending.refuse(format!("the VM would be lost: it is not protected ({phase})"));
        }
        self.site.board.notice("failing on request");
        self.gate.shut();
        self.shut_fence();
        self.stream = None;
        self.failing = Some((pending, peer));
        self.halt(Halted::OnRequest);
    }

    /// Stops the VM on this side for good.
    pub(super) fn halt(&mut self, reason: Halted) {
        self.gate.shut();
        self.shut_fence();
        self.site.board.notice(reason.to_string());
        self.orders.halt(reason);
        self.halted = true;
    }

    /// After the vCPU thread: answers whoever asked for the failure.
    pub(super) fn end(self) {
        let Some((pending, peer)) = self.failing else { return };
        let asked = self.site.hello(&self.identity, self.core.generation(), Purpose::Query);
        match await_takeover(&peer, &asked) {
            Some(takeover) => pending.done(takeover),
            None => pending.refuse(format!(
                "this side has failed as asked, but {peer} does not report a takeover within {TAKEOVER_PATIENCE:?}"
            )),
        }
    }
}

fn await_takeover(peer: &str, hello: &Hello) -> Option<Value> {
    let deadline = Instant::now() + TAKEOVER_PATIENCE;
    while Instant::now() < deadline {
        let status = query(peer, hello).ok().and_then(|json| serde_json::from_str::<Status>(&json).ok());
        // The takeover from this generation, not one before it.
        let takeover =
            status.and_then(|status| status.takeover).filter(|t| t.generation > hello.generation.0);
        if let Some(takeover) = takeover {
            return serde_json::to_value(takeover).ok();
        }
        thread::sleep(ASK_AGAIN);
    }
    None
}
