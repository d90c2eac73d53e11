//! What a process has that plays a part in protecting a VM, whichever part.

use std::{sync::Arc, time::Duration};

use crossbeam_channel::bounded;
use ftlog::{Generation, Hello, Purpose};
use protocol::{Config, arbiter::ClaimOutcome, primary::controller::OnTrouble};
use replay::StopSwitch;

use super::{channel::Channel, handshake::hello, wait::Wait};
use crate::{
    arbiter::{Claim, Ended as EndedRecord, FileArbiter, Holder},
    control::Board,
    host::{Outlets, reserve},
    identity::VmIdentity,
    ingress::Inbox,
};

/// How long an orderly end waits for the arbiter.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// What a process has that plays a part in protecting a VM, whichever part.
#[derive(Clone)]
pub struct Site {
    /// Times and limits.
    pub config: Config,
    /// Who may go on alone.
    pub arbiter: Arc<FileArbiter>,
    /// How this process names itself to the arbiter.
    pub holder: Arc<Holder>,
    /// What `status` reads.
    pub board: Board,
    /// What waits for the guest.
    pub inbox: Arc<Inbox>,
    /// The guest's ways out.
    pub outlets: Outlets,
    /// What a protected primary does whose guest can reach nobody.
    pub on_trouble: OnTrouble,
    /// How long things wait for a guest that computes.
    pub patience: Duration,
    /// How the link threads wait.
    pub wait: Wait,
    /// How a seed is sent.
    pub channel: Channel,
    /// The way to end the VM.
    pub stop: StopSwitch,
}

impl Site {
    /// How this side introduces itself in a generation.
    pub fn hello(&self, identity: &VmIdentity, generation: Generation, purpose: Purpose) -> Hello {
        hello(identity, generation, &self.holder.to_string(), self.arbiter.identity(), purpose)
    }

    /// Claims a generation of a VM, which comes after the one that `after` holds, and who might still run it if this side
    /// `yields`. Blocks while the arbiter does.
    pub fn claim(
        &self,
        identity: &VmIdentity,
        generation: Generation,
        after: Option<&str>,
        yields: bool,
    ) -> ClaimOutcome {
        let (name, vm) = (&identity.shape.name, identity.vm);
        self.arbiter.claim(&Claim { name, vm, generation, after, holder: &self.holder, yields })
    }

    /// All is well: what the next loss will need is put aside.
    pub fn put_aside(&self) {
        match reserve::refill() {
            Ok(()) => self.board.well("reserve"),
            Err(error) => {
                self.board
                    .trouble("reserve", format!("no descriptors can be put aside for a takeover: {error}"));
            }
        }
    }

    /// Notes that the VM ended in order in a generation that this side holds. An arbiter that does not answer is not
    /// waited for: the VM then counts as running here until this process is seen to be gone.
    pub fn end(&self, name: &str, generation: Generation, how: &str) {
        let (arbiter, name, ended) = (self.arbiter.clone(), name.to_owned(), EndedRecord::now(how));
        let (told, heard) = bounded(1);
        let spawned = reserve::spawn("end", move || {
            let _ = told.send(arbiter.end(&name, generation, &ended));
        });
        let noted = spawned.map_err(anyhow::Error::from).and_then(|_| Ok(heard.recv_timeout(END_PATIENCE)??));
        if let Err(error) = noted {
            tracing::warn!("the arbiter does not know that the VM has ended: {error:#}");
        }
    }
}
