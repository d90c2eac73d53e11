//! Commands at the control socket: what they are to the controller, and its answers in words.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use ftlog::{Generation, Hello, Purpose};
use protocol::primary::controller::{Answer, Asked, Command};
use serde_json::{Value, json};

use crate::{
    control::{Pending, Request, Status},
    identity::VmIdentity,
    link::{Site, handshake::query},
};

/// How long a secondary may take to take over on request.
const TAKEOVER_PATIENCE: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Those who wait for an answer.
#[derive(Default)]
pub struct Answers {
    waiting: BTreeMap<Asked, Pending>,
    next: u64,
    /// This side has failed on request, in this generation; whether the peer takes over is asked when the guest has stopped.
    failed: Option<(Pending, String, Generation)>,
}

impl Answers {
    /// What is asked, under the number that its answer will have; `None` for what is answered elsewhere.
    pub fn take(&mut self, pending: Pending) -> Option<(Asked, Command)> {
        let command = match pending.request.clone() {
            Request::Status => {
                pending.refuse("status is answered elsewhere");
                return None;
            }
            Request::Protect { to } => Command::Protect { to },
            Request::TestFailover => Command::TestFailover,
            Request::TestRestartSecondary => Command::TestRestartSecondary,
            Request::Suspend => Command::Suspend,
            Request::Resume => Command::Resume,
            Request::TurnOff => Command::TurnOff,
            Request::MigrateSecondary { to } => Command::MigrateSecondary { to },
        };
        let asked = Asked(self.next);
        self.next += 1;
        self.waiting.insert(asked, pending);
        Some((asked, command))
    }

    /// The controller's answer.
    pub fn give(&mut self, asked: Asked, answer: Answer) {
        let Some(pending) = self.waiting.remove(&asked) else { return };
        match answer {
            Answer::Seeks(peer) => pending.done(json!({ "peer": peer })),
            Answer::Refused(reason) => pending.refuse(reason),
            Answer::Failed { peer, generation } => self.failed = Some((pending, peer, generation)),
            Answer::Alone { peer, suspended, generation } => {
                let protection = protection(&pending.request, suspended.as_deref(), peer.as_deref());
                pending.done(json!({
                    "protection": protection,
                    "vm": "runs on here, unprotected",
                    "generation": generation.0,
                    "peer": peer,
                }));
            }
        }
    }

    /// After the vCPU thread: answers whoever asked for the failure.
    pub fn finish(self, site: &Site, identity: &VmIdentity) {
        let Some((pending, peer, generation)) = self.failed else { return };
        let asked = site.hello(identity, generation, Purpose::Query);
        match await_takeover(&peer, &asked) {
            Some(takeover) => pending.done(takeover),
            None => pending.refuse(format!(
                "this side has failed as asked, but {peer} does not report a takeover within {TAKEOVER_PATIENCE:?}"
            )),
        }
    }
}

/// What is off now and what is not: "turn-off" and "suspend" could be of the VM.
fn protection(request: &Request, suspended: Option<&str>, peer: Option<&str>) -> String {
    match (request, suspended, peer) {
        (Request::Suspend, Some(peer), _) => format!("suspended; `resume` looks for {peer} again"),
        (_, _, Some(peer)) => format!("off until {peer} answers as the secondary"),
        _ => "off until `protect`".to_owned(),
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
