//! The primary: the vCPU thread runs the VM and records it, the link thread does what the
//! [`controller`] asks.

mod answers;
mod brake;
mod delta_figures;
mod desk;
mod errands;
mod figures;
mod followed;
mod hands;
mod hearing;
mod letters;
mod means;
mod messages;
mod notices;
mod orders;
mod outbox;
mod progress;
mod seeding;
mod stop;
mod thread;
mod vcpu;
mod wire;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use devices::Off;
use ftlog::Generation;
use machine::{Machine, VcpuThread};
use protocol::{
    YIELD_NS,
    primary::controller::{self, Controller, Setup},
};
use replay::{Ended, live};

pub use means::Means;
pub use orders::Halted;

use self::{
    answers::Answers,
    desk::{Desk, SharedDesk},
    errands::Errands,
    figures::Figures,
    followed::Followed,
    hands::Hands,
    messages::{Message, UNDER_WAY},
    orders::Orders,
    outbox::Outbox,
    thread::{Ears, LinkThread},
    vcpu::Recorded,
    wire::RegisterRing,
};
use super::{Site, budget::Budget};
use crate::{
    disk::stamp::{Mark, StampState},
    host::{
        clock::{VirtualClock, boot_ns},
        pulse::Pulse,
        reserve,
    },
    identity::{Permission, VmIdentity},
    ingress::{HostInput, TapReader},
};

/// How a primary came to be.
pub enum Origin {
    /// It starts the VM, after asking who had it.
    Started(Permission),
    /// It was the secondary and has won this generation.
    TookOver {
        /// The generation.
        generation: Generation,
        /// When the VM ran live, ns of the host's clock.
        live_ns: u64,
        /// From when on it writes shared disks, likewise.
        writes_from_ns: u64,
    },
}

/// Where a link thread stood when it ended.
struct Finish {
    /// The last generation it held.
    generation: Generation,
    /// No other side can go on with the VM.
    alone: bool,
}

/// However the link thread ends, also by a panic: without it the vCPU thread must not run on, nor wait for it.
struct EndOnDrop(Arc<Orders>, Budget);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.halt(Halted::LinkEnded);
        self.1.close();
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
    let vcpu = VcpuThread::current()?;
    let orders = Arc::new(Orders::new(site.inbox.clone(), site.stop.clone(), vcpu));
    let (budget, pulse) = (Budget::new(UNDER_WAY), Pulse::default());
    pulse.adopt();
    let clock = VirtualClock::starting_at(machine.time_ns());
    let commands = mailbox.clone();
    let ears = Ears {
        letters,
        vcpu_letters,
        budget: budget.clone(),
        pulse: pulse.clone(),
        tally: machine.tally().clone(),
    };
    let errands = Errands { site: site.clone(), identity: identity.clone(), mailbox };
    let followed = Arc::new(Followed::new(vcpu));
    let desk = SharedDesk::new(desk(origin, peer, errands, (orders.clone(), followed.clone()), machine));
    let (mut thread, served) = (LinkThread::new(ears, site.wait), desk.clone());
    site.board.set_handler(Some(Box::new(move |pending| {
        commands.send(Message::Command(pending));
    })));
    let guard = EndOnDrop(orders.clone(), budget.clone());
    let link = reserve::spawn("link", move || {
        let _guard = guard;
        thread.run(&served).map(finish)
    })?;
    let net = machine.platform().net();
    let _reader = TapReader::start(site.outlets.tap.as_ref(), net, &site.inbox, &site.board, reader_stop)?;
    let disks = site.outlets.disks.clone();
    let from = machine.position();
    let outbox = Outbox { desk, mailbox: vcpu_mailbox, budget, pulse: pulse.clone() };
    let mut witness = Recorded::new(identity, outbox, (orders, followed), disks, from);
    // Until the arbiter has said that this side may, the guest does not run.
    let ended = witness.obey(machine).and_then(|()| {
        if starts && !site.stop.is_thrown() {
            site.outlets.announce(net);
        }
        let mut input = HostInput::attach(&site.inbox, clock, &site.stop, timer, machine.doorbell())?;
        pulse.set_busy(true);
        live::run(machine, site.patience, &mut input, &mut witness)
    });
    let ended = witness.finish().and(ended);
    site.board.set_handler(None);
    let finish = link.join().flatten().ok_or_else(|| anyhow::anyhow!("the link thread panicked"))?;
    match ended {
        Err(error) if matches!(error.downcast_ref(), Some(Halted::OnRequest)) => Ok(Ended::Stopped),
        Ok(ended) => {
            conclude(&site, ending, &finish, &ended);
            Ok(ended)
        }
        other => other,
    }
}

fn desk(
    origin: Origin,
    peer: Option<String>,
    errands: Errands,
    (orders, followed): (Arc<Orders>, Arc<Followed>),
    machine: &Machine,
) -> Desk {
    let (site, shape) = (errands.site.clone(), &errands.identity);
    let (origin, awaiting_first_output) = match origin {
        Origin::Started(Permission { previous, after, yields, .. }) => {
            let yield_ns = if yields { YIELD_NS } else { 0 };
            (controller::Origin::Starts { previous, after, yield_ns }, None)
        }
        Origin::TookOver { generation, live_ns, writes_from_ns } => {
            (controller::Origin::TookOver { generation, writes_from_ns }, Some(live_ns))
        }
    };
    site.board.update(|status| {
        status.name = Some(shape.shape.name.clone());
        status.vm = Some(shape.vm.to_string());
    });
    let setup = Setup {
        config: site.config.clone(),
        holder: site.holder.to_string(),
        origin,
        peer,
        on_trouble: site.on_trouble,
        position: machine.position(),
    };
    let mut first = Vec::new();
    let controller = Controller::new(setup, boot_ns(), &mut first);
    let hands = Hands {
        site,
        errands,
        orders,
        followed,
        answers: Answers::default(),
        figures: Figures::new(),
        registers: RegisterRing::new(),
        wire: None,
        seeding: None,
        source: machine.source(),
        reached: BTreeMap::new(),
        log: VecDeque::new(),
        told: None,
        queued: None,
        time_ns: machine.time_ns(),
        awaiting_first_output,
        news: VecDeque::new(),
        protected: false,
        unprotected_since_ns: awaiting_first_output,
        ended: false,
    };
    Desk::new(controller, hands, first)
}

/// After the vCPU thread.
fn finish(desk: Desk) -> Finish {
    let Desk { controller, hands } = desk;
    let finish = Finish { generation: controller.generation(), alone: controller.is_alone() };
    if !finish.alone {
        // Before the connection closes, at which a secondary takes over.
        hands.site.outlets.disks.fence().shut();
        hands.site.outlets.disks.look_at_fence();
    }
    let Hands { wire, answers, site, errands, ended, .. } = hands;
    match wire {
        Some(wire) if ended => wire.connection.close(),
        wire => drop(wire),
    }
    answers.finish(&site, &errands.identity);
    finish
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
