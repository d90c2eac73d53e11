//! The primary: the vCPU thread runs the VM and records it, the link thread does what the [core](protocol::primary)
//! asks.

mod connector;
mod effects;
mod failover;
mod hearing;
mod letters;
mod means;
mod messages;
mod net_loss;
mod orders;
mod resync;
mod status;
mod streaming;
mod thread;
mod vcpu;
mod watch;
mod writes;

use std::{sync::Arc, time::Duration};

use crossbeam_channel::bounded;
use devices::Off;
use ftlog::{Generation, Hello, Purpose};
use machine::Machine;
use protocol::{Config, arbiter::ClaimOutcome};
use replay::{Ended, StopSwitch, live};

pub use means::Means;
pub use net_loss::OnNetLoss;
pub use orders::Halted;

use self::{
    messages::Message,
    orders::Orders,
    thread::{Finish, LinkThread, Start},
    vcpu::Recorded,
};
use super::handshake::hello;
use crate::{
    arbiter::{Claim, Ended as EndedRecord, FileArbiter, Holder},
    control::Board,
    disk::stamp::{Mark, StampState},
    host::{Outlets, clock::VirtualClock, reserve},
    identity::{Permission, VmIdentity},
    ingress::{HostInput, Inbox, TapReader},
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
    /// What a protected primary does that is cut off from its network.
    pub on_net_loss: OnNetLoss,
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
    pub(super) fn put_aside(&self) {
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
    fn end(&self, name: &str, generation: Generation, how: &str) {
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

/// How a primary came to be.
pub enum Origin {
    /// It starts the VM, after asking who had it.
    Started(Permission),
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
/// elsewhere ([`Halted`]). It needs nothing of the host that was not made or put aside before.
pub fn run(
    site: Site,
    means: Means,
    identity: VmIdentity,
    machine: &mut Machine,
    origin: Origin,
    peer: Option<String>,
) -> anyhow::Result<Ended> {
    // After a takeover it was announced at once.
    let starts = matches!(origin, Origin::Started(_));
    let ending = identity.mark(Generation(0), StampState::Ended);
    let Means { to_link: (mailbox, letters), from_vcpu: (vcpu_mailbox, vcpu_letters), timer, reader_stop } =
        means;
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
    let link = reserve::spawn("link", move || {
        // However it ends, also by a panic: without it the vCPU thread must not run on.
        let _guard = HaltOnDrop(link.orders());
        link.run()
    })?;
    let net = machine.platform().net();
    let _reader = TapReader::start(site.outlets.tap.as_ref(), net, &site.inbox, &site.board, reader_stop)?;
    let mut witness = Recorded::new(identity, vcpu_mailbox, orders, site.outlets.disks.clone(), from);
    // Until the arbiter has said that this side may, the guest does not run.
    let ended = witness.obey(machine).and_then(|()| {
        if starts && !site.stop.is_thrown() {
            site.outlets.announce(net);
        }
        let mut input = HostInput::attach(&site.inbox, clock, &site.stop, timer, machine.doorbell())?;
        live::run(machine, &mut input, &mut witness)
    });
    let ended = witness.finish().and(ended);
    site.board.set_handler(None);
    let finish = link.join().unwrap_or_else(|| Err(anyhow::anyhow!("the link thread panicked")))?;
    match ended {
        Err(error) if matches!(error.downcast_ref(), Some(Halted::OnRequest)) => Ok(Ended::Stopped),
        Ok(ended) => {
            conclude(&site, ending, &finish, &ended);
            Ok(ended)
        }
        other => other,
    }
}

/// The VM has ended in order, unless its secondary goes on with it.
fn conclude(site: &Site, ending: Mark, finish: &Finish, ended: &Ended) {
    let how = match ended {
        Ended::PoweredOff(Off::Status(_)) => "the guest switched itself off",
        Ended::PoweredOff(Off::Panicked) => "the guest panicked",
        Ended::Stopped if finish.alone => "it was stopped",
        Ended::Stopped => return,
    };
    let mark = Mark { generation: finish.generation, ..ending };
    if let Err(error) = site.outlets.disks.end(&mark) {
        site.board.notice(format!("the disks do not say that the VM has ended: {error}"));
    }
    site.end(&mark.name, finish.generation, how);
}
