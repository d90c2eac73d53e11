//! The primary: the vCPU thread runs the VM and records it, the link thread does what the [core](crate::role::primary)
//! asks.

mod connector;
mod effects;
mod failover;
mod hearing;
mod letters;
mod messages;
mod orders;
mod resync;
mod status;
mod streaming;
mod thread;
mod vcpu;
mod writes;

use std::{sync::Arc, thread as threads};

use ftlog::Generation;

pub use orders::Halted;

use self::{
    messages::Message,
    orders::Orders,
    thread::{LinkThread, Start},
    vcpu::Recorded,
};
use super::{identity::VmIdentity, mailbox::mailbox};
use crate::{
    arbiter::FileArbiter,
    control::Board,
    host::{Outlets, clock::VirtualClock},
    ingress::{Inbox, TapReader},
    machine::Machine,
    role::Config,
    step::{Ended, Input, StopSwitch, live},
};

/// What a process has that plays a part in protecting a VM, whichever part.
#[derive(Clone)]
pub struct Site {
    /// Times and limits.
    pub config: Config,
    /// Who may go on alone.
    pub arbiter: Arc<FileArbiter>,
    /// How this process names itself to the arbiter.
    pub holder: String,
    /// What `status` reads.
    pub board: Board,
    /// What waits for the guest.
    pub inbox: Arc<Inbox>,
    /// The guest's ways out.
    pub outlets: Outlets,
    /// The way to end the VM.
    pub stop: StopSwitch,
}

/// How a primary came to be.
pub enum Origin {
    /// It made the VM.
    Created,
    /// It was the secondary and has won this generation.
    TookOver {
        /// The generation.
        generation: Generation,
        /// When the VM ran live, ns of the host's monotonic clock.
        live_ns: u64,
    },
}

struct HaltOnDrop(Arc<Orders>);

impl Drop for HaltOnDrop {
    fn drop(&mut self) {
        self.0.halt(Halted::LinkEnded);
    }
}

/// Runs the machine as its primary until the guest switches off, the stop switch is thrown, or the VM goes on
/// elsewhere ([`Halted`]).
pub fn run(
    site: Site,
    identity: VmIdentity,
    machine: &mut Machine,
    origin: Origin,
    peer: Option<String>,
) -> anyhow::Result<Ended> {
    let (mailbox, letters) = mailbox()?;
    let (vcpu_mailbox, vcpu_letters) = super::mailbox::mailbox()?;
    let orders = Arc::new(Orders::new(site.inbox.clone(), site.stop.clone()));
    let start =
        Start { position: machine.position(), time_ns: machine.time_ns(), tally: machine.tally().clone() };
    let from = start.position;
    let clock = VirtualClock::starting_at(machine.time_ns());
    let link = LinkThread::new(
        site.clone(),
        identity.clone(),
        origin,
        start,
        peer,
        orders.clone(),
        mailbox.clone(),
        letters,
        vcpu_letters,
    );
    let commands = mailbox.clone();
    site.board.set_handler(Some(Box::new(move |pending| {
        commands.send(Message::Command(pending));
    })));
    let link = threads::Builder::new().name("link".into()).spawn(move || {
        // However it ends, also by a panic: without it the vCPU thread must not run on.
        let _guard = HaltOnDrop(link.orders());
        link.run()
    })?;
    let _reader =
        site.outlets.tap.clone().map(|tap| TapReader::start(tap, site.inbox.clone())).transpose()?;
    let input = Input { inbox: site.inbox.clone(), clock, stop: site.stop.clone() };
    let mut witness = Recorded::new(identity, vcpu_mailbox, orders, site.outlets.disks.clone(), from);
    // Until the arbiter has said that this side may, the guest does not run.
    let ended = witness.obey(machine).and_then(|()| live::run(machine, &input, &mut witness));
    let ended = witness.finish().and(ended);
    site.board.set_handler(None);
    let linked = link.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the link thread panicked")));
    match ended {
        // What stopped the link is the cause, what the vCPU thread met then only its consequence.
        Err(error) if matches!(error.downcast_ref(), Some(Halted::OnRequest)) => {
            linked.map(|()| Ended::Stopped)
        }
        Err(error) if error.is::<Halted>() => linked.and(Err(error)),
        other => linked.and(other),
    }
}
