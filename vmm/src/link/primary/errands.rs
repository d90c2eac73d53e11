//! What is asked of others, each on a thread of its own: a shared directory or a name server may take long to answer, or
//! for ever.

use std::{thread, time::Duration};

use anyhow::Context;
use ftlog::{Generation, Hello, Purpose};
use protocol::{
    arbiter::ClaimOutcome,
    primary::controller::{Attempt, Sight},
};

use super::messages::Message;
use crate::{
    arbiter::{ArbiterError, Holder, Latest},
    disk::stamp::StampState,
    host::reserve,
    identity::VmIdentity,
    link::{Site, handshake::ask_for_protection, mailbox::Mailbox},
};

/// When stamps that could not be written are tried again.
const STAMP_AGAIN: Duration = Duration::from_secs(1);

/// Whoever runs them, and where they report.
pub struct Errands {
    pub site: Site,
    pub identity: VmIdentity,
    pub mailbox: Mailbox<Message>,
}

impl Errands {
    /// Claims a generation.
    pub fn claim(&self, generation: Generation, after: Option<String>, yields: bool) {
        let (site, identity) = (self.site.clone(), self.identity.clone());
        reserve::spend();
        self.run("claim", move |spawned| {
            let outcome = match spawned {
                Ok(()) => site.claim(&identity, generation, after.as_deref(), yields),
                // It was not asked, so it is asked again.
                Err(error) => ClaimOutcome::Unavailable { reason: format!("no thread to ask it: {error:#}") },
            };
            Message::Claimed(generation, outcome)
        });
    }

    /// Looks whether the arbiter still shows this side as the holder of `ours`.
    pub fn look(&self, ours: Generation) {
        let (site, name) = (self.site.clone(), self.identity.shape.name.clone());
        self.run("look", move |spawned| {
            Message::Looked(match spawned {
                Ok(()) => judge(ours, &site.holder, site.arbiter.latest(&name)),
                Err(error) => Sight::Unclear(format!("no thread to look at it: {error:#}")),
            })
        });
    }

    /// Asks `to` to become the secondary.
    pub fn connect(&self, attempt: Attempt, to: String, generation: Generation, lease_ns: u64) {
        let (site, identity) = (self.site.clone(), self.identity.clone());
        self.run("connect", move |spawned| {
            let hello = || hello(&site, &identity, generation, Purpose::Protect, lease_ns);
            // The VM runs on without a secondary, and looks again.
            let spawned = spawned.context("no thread to look for the secondary");
            Message::Connected(
                attempt,
                spawned.and_then(|()| ask_for_protection(&to, &hello())).map(Box::new),
            )
        });
    }

    /// Asks `to` whether it would.
    pub fn probe(&self, attempt: Attempt, to: String, generation: Generation) {
        let (site, identity) = (self.site.clone(), self.identity.clone());
        self.run("probe", move |spawned| {
            let lease_ns = site.config.lease_ns();
            let hello = || hello(&site, &identity, generation, Purpose::Probe, lease_ns);
            let spawned = spawned.context("no thread to ask the host");
            Message::Probed(attempt, spawned.and_then(|()| ask_for_protection(&to, &hello())).map(drop))
        });
    }

    /// The disks say that they are of this generation. Only a start waits for that, and once: as long as they do not, they
    /// look older than they are, which is safe.
    pub fn stamp(&self, generation: Generation, wait: bool) {
        let (disks, board) = (self.site.outlets.disks.clone(), self.site.board.clone());
        let (mark, stop) = (self.identity.mark(generation, StampState::Live), self.site.stop.clone());
        let stamped = move || match disks.stamp(&mark) {
            Ok(()) => {
                board.well("stamp");
                true
            }
            Err(error) => {
                let why = format!("the disks do not say that they are of generation {generation}: {error}");
                board.trouble("stamp", why);
                false
            }
        };
        if wait && stamped() {
            return;
        }
        let again = move || {
            while !stamped() && !stop.is_thrown() {
                thread::sleep(STAMP_AGAIN);
            }
        };
        if let Err(error) = reserve::spawn("stamp", again) {
            tracing::warn!(%error, "the disks do not say that they are of generation {generation}");
        }
    }

    /// Has a thread report what `body` gives; where there is no thread to be had, `body` is told and gives that.
    fn run(&self, name: &str, body: impl Fn(anyhow::Result<()>) -> Message + Clone + Send + 'static) {
        let (mailbox, elsewhere) = (self.mailbox.clone(), body.clone());
        let spawned = reserve::spawn(name, move || {
            mailbox.send(elsewhere(Ok(())));
        });
        if let Err(error) = spawned {
            self.mailbox.send(body(Err(error.into())));
        }
    }
}

/// How this side introduces itself to a host that is to have its disks.
fn hello(
    site: &Site,
    identity: &VmIdentity,
    generation: Generation,
    purpose: Purpose,
    lease_ns: u64,
) -> Hello {
    let disks = site.outlets.disks.lines().unwrap_or_else(|error| {
        site.board.notice_once(format!("the secondary is not told which disks these are: {error}"));
        Vec::new()
    });
    let hello = site.hello(identity, generation, purpose);
    Hello { lease_ns, disks, ..hello }
}

fn judge(ours: Generation, holder: &Holder, shown: Result<Option<Latest>, ArbiterError>) -> Sight {
    match shown {
        Ok(Some(Latest { entry, .. })) if entry.holder == *holder => Sight::Ours,
        Ok(Some(Latest { entry, .. })) if entry.generation > ours => {
            Sight::Later { generation: entry.generation, holder: entry.holder.to_string() }
        }
        Ok(_) => Sight::Unclear(format!(
            "it does not show generation {ours}, which this side holds; was it cleared away (ftvmm arbiter forget)?"
        )),
        Err(error) => Sight::Unclear(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use ftlog::VmId;

    use super::*;
    use crate::arbiter::Entry;

    fn shown(generation: u64, holder: &Holder) -> Result<Option<Latest>, ArbiterError> {
        let (generation, holder) = (Generation(generation), holder.clone());
        Ok(Some(Latest {
            entry: Entry { vm: VmId([1; 16]), generation, holder, since_ms: 0, yields: false },
            ended: None,
        }))
    }

    #[test]
    fn only_a_later_generation_of_another_is_a_verdict() {
        let (us, other) = (Holder::this_process().unwrap(), Holder::this_process().unwrap());
        let ours = Generation(5);
        for won in [5, 6] {
            assert_eq!(judge(ours, &us, shown(won, &us)), Sight::Ours, "won while it was looked");
        }
        let later = Sight::Later { generation: Generation(7), holder: other.to_string() };
        assert_eq!(judge(ours, &us, shown(7, &other)), later);
        let spec = "nothing".to_owned();
        for unclear in [Ok(None), shown(5, &other), shown(1, &other), Err(ArbiterError::Spec { spec })] {
            assert!(matches!(judge(ours, &us, unclear), Sight::Unclear(_)));
        }
    }
}
