//! `ftvmm primary` and `ftvmm secondary`.

use std::{io::Write, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use ftlog::VmId;
use machine::kvm::Host;
use protocol::{Config, primary::controller};
use replay::{Ended, StopSwitch, trace};

use super::{
    exit, start,
    vm::{NetOption, PatienceOption, VmOptions, open_outlets},
};
use crate::{
    arbiter::{FileArbiter, Holder},
    control::{Board, Role, Server, State, listen_address, peer_address},
    disk::{DiskOption, Disks, Use},
    host::{Outlets, clock, console::ConsoleTarget, reserve},
    identity::{self, VmIdentity},
    ingress::Inbox,
    link::{
        Channel, Site, Wait,
        primary::{self, Means, Origin},
        secondary::{self, Listener, Served},
    },
    shutdown,
};

/// How the pair watches each other.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Fault tolerance")]
pub struct FtOptions {
    /// Who decides which side goes on when they lose each other: file:DIR, a directory that both hosts can reach
    /// (NFS will do); the same on both sides
    #[arg(long, value_name = "file:DIR")]
    arbiter: String,
    /// Silence after which the other side is counted as lost, in ms. A shorter one means a shorter pause when a host
    /// dies, and more false alarms; a false alarm costs protection for a moment, never data
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(20..=3_600_000))]
    failure_timeout: u64,
    /// How far the secondary may fall behind before the primary is slowed, in ms; at twice this it is stopped
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=3_600_000))]
    max_lag: u64,
    /// What a protected side does whose guest can reach nobody from here, its TAP device or a disk being in trouble for
    /// 2 s: handover stops this side, so that its secondary takes over, if nothing ails that; keep runs the VM on
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    on_trouble: OnTrouble,
    /// For so long, in µs, a link thread that waits for the other side looks again and again before it sleeps. An output
    /// leaves some µs earlier, and each side needs a core for nothing else; 0 sleeps at once
    #[arg(long, value_name = "US", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    busy_poll: u64,
    /// The most of the way to the secondary that the guest's memory takes while the guest runs on, in Mbit/s, if the way
    /// is needed for something else too; without it, all of it
    #[arg(long, value_name = "MBIT", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seed_bandwidth: Option<u64>,
    #[command(flatten)]
    patience: PatienceOption,
    /// Unix socket at which status and commands are answered
    #[arg(long, value_name = "SOCKET")]
    control: Option<PathBuf>,
}

/// See [`controller::OnTrouble`].
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum OnTrouble {
    /// Stop here, and have the secondary take over.
    #[default]
    Handover,
    /// Run on.
    Keep,
}

impl From<OnTrouble> for controller::OnTrouble {
    fn from(chosen: OnTrouble) -> Self {
        match chosen {
            OnTrouble::Handover => Self::Handover,
            OnTrouble::Keep => Self::Keep,
        }
    }
}

impl FtOptions {
    fn config(&self) -> Config {
        Config {
            failure_timeout_ns: Duration::from_millis(self.failure_timeout).as_nanos() as u64,
            max_lag_ns: Duration::from_millis(self.max_lag).as_nanos() as u64,
            ..Config::default()
        }
    }

    fn site(
        &self,
        inbox: Arc<Inbox>,
        outlets: Outlets,
        stop: StopSwitch,
        board: Board,
    ) -> anyhow::Result<Site> {
        Ok(Site {
            config: self.config(),
            arbiter: Arc::new(FileArbiter::open(&self.arbiter)?),
            holder: Arc::new(Holder::this_process()?),
            board,
            inbox,
            outlets,
            on_trouble: self.on_trouble.into(),
            patience: self.patience.get(),
            wait: Wait { busy: Duration::from_micros(self.busy_poll) },
            channel: Channel {
                limit: self.seed_bandwidth.map(|mbit| mbit * 1_000_000 / 8),
                ..Channel::default()
            },
            stop,
        })
    }

    fn serve_control(&self, board: &Board) -> anyhow::Result<Option<Server>> {
        self.control.as_deref().map(|path| Server::start(path, board.clone())).transpose()
    }
}

/// Before anything else that the process does, and so with the lowest descriptors.
fn withstand_surroundings() -> anyhow::Result<()> {
    trace::begin().context("cannot write the trace that FTVMM_TRACE asks for")?;
    shutdown::survive_surroundings();
    reserve::hold()
        .context("a takeover needs more threads or descriptors than there are (ulimit -u, ulimit -n)")
}

/// Run a VM and protect it with a secondary: nothing the guest says leaves before the secondary can repeat it
///
/// The VM starts at once and runs unprotected until a secondary at --peer has its state. SIGTERM ends this side: a
/// protected VM goes on at its secondary, an unprotected one ends. An example:
///
///   ftvmm primary --net tap=vm0 --peer host-b:7000 --arbiter file:/srv/ftvmm --control /run/ftvmm.sock
#[derive(Args)]
pub struct Primary {
    #[command(flatten)]
    vm: VmOptions,
    /// Where the secondary listens; until it answers, and after it is lost, the VM runs unprotected
    #[arg(long, value_name = "HOST:PORT", value_parser = peer_address, help_heading = "Fault tolerance")]
    peer: String,
    #[command(flatten)]
    ft: FtOptions,
    /// Start the VM although it may run elsewhere, or although what it did elsewhere is lost by it; what that is, is
    /// logged. Never starts what is known to run. Where it may run, the guest starts some seconds after the claim: a side
    /// that has it and sees the arbiter has halted by then. One that does not see the arbiter runs on: make sure
    #[arg(long, help_heading = "Fault tolerance")]
    force: bool,
    /// This is another VM than the one of that name, or of these disks, that was there before
    #[arg(long, help_heading = "Fault tolerance")]
    new: bool,
}

impl Primary {
    pub fn execute(self) -> anyhow::Result<u8> {
        withstand_surroundings()?;
        let inbox = Arc::new(Inbox::default());
        let stop = StopSwitch::default();
        let board = Board::default();
        let outlets = self.vm.outlets(Use::Pair, &inbox, &stop, &board)?;
        let site = self.ft.site(inbox, outlets, stop, board)?;
        site.board.update(|status| (status.role, status.state) = (Role::Primary, State::Starting));
        let _control = self.ft.serve_control(&site.board)?;
        let host = Host::open()?;
        let cpu = self.vm.cpu(&host)?;
        let shape = self.vm.shape(cpu, &site.outlets);
        let asked = start::Asked { peer: &self.peer, force: self.force, new: self.new };
        let permission = start::await_permission(&site, &shape, &asked)?;
        site.outlets.disks.lock_live()?;
        let wall_base_ns = clock::wall_ns();
        let vm = permission.vm.map_or_else(|| identity::random().map(VmId), Ok)?;
        let identity = VmIdentity { vm, shape, wall_base_ns };
        let mut machine = self.vm.boot(&host, cpu, wall_base_ns, &site.outlets)?;
        shutdown::on_signal(&site.stop, &site.inbox)?;
        let console = site.outlets.console.clone();
        let origin = Origin::Started(permission);
        let ended = primary::run(site, Means::make()?, identity, &mut machine, origin, Some(self.peer));
        console.close();
        Ok(exit::of_machine(ended?))
    }
}

/// Follow a primary's VM in lockstep and take it over when the primary is lost
///
/// The VM's shape and state come from the primary. Prints "listening on ADDR:PORT" once it can be reached. After a
/// takeover it is the primary; give it a secondary of its own with `ftvmm protect`. An example:
///
///   ftvmm secondary --listen 0.0.0.0:7000 --net tap=vm0 --arbiter file:/srv/ftvmm --control /run/ftvmm.sock
#[derive(Args)]
pub struct Secondary {
    /// Where to wait for a primary; port 0 picks one
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen_address)]
    listen: String,
    /// This host's network card for the guest: tap=NAME
    #[arg(long, value_name = "tap=NAME")]
    net: Option<NetOption>,
    /// This host's disk for the guest, given again for each, in the primary's order. Size, mode (replicated or shared)
    /// and readonly must be the primary's. A replicated one (the default) is overwritten with what the primary's holds
    #[arg(long = "disk", value_name = "path=FILE[,mode=MODE][,readonly]")]
    disks: Vec<DiskOption>,
    /// Where the serial console goes once this side is live: stdio, file=FILE (appended), or unix=SOCKET
    #[arg(long, value_name = "TARGET", default_value = "stdio")]
    console: ConsoleTarget,
    /// Read options of this command from a TOML file, by the names of the flags: listen = "0.0.0.0:7000", net = "tap=vm0".
    /// Flags given here as well win
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    #[command(flatten)]
    ft: FtOptions,
    /// Overwrite this host's copies of the disks although they are newer than the primary's, or another VM's; what is
    /// lost by it is logged
    #[arg(long, help_heading = "Fault tolerance")]
    force: bool,
}

impl Secondary {
    pub fn execute(self) -> anyhow::Result<u8> {
        if self.net.as_ref().is_some_and(|net| net.mac.is_some()) {
            bail!("the guest's MAC address comes from the primary: leave mac= out of --net");
        }
        withstand_surroundings()?;
        let inbox = Arc::new(Inbox::default());
        let stop = StopSwitch::default();
        inbox.be_deaf();
        let board = Board::default();
        let disks = Disks::open(&self.disks, Use::Pair, false, &inbox, &stop)?;
        let outlets = open_outlets(self.net.as_ref(), &self.console, disks, &inbox, &board)?;
        let site = self.ft.site(inbox, outlets, stop, board)?;
        let _control = self.ft.serve_control(&site.board)?;
        shutdown::on_signal(&site.stop, &site.inbox)?;
        let means = Means::make().context("there are no descriptors for a takeover (ulimit -n)")?;
        let listener = Listener::start(&self.listen, &site, self.force)?;
        // Nobody may read it.
        let _ = writeln!(std::io::stdout(), "listening on {}", listener.address());
        let console = site.outlets.console.clone();
        let ended = follow(site, means, &listener);
        console.close();
        Ok(exit::of_machine(ended?))
    }
}

fn follow(site: Site, means: Means, listener: &Listener) -> anyhow::Result<Ended> {
    match secondary::serve(&site, listener)? {
        Served::Stopped => Ok(Ended::Stopped),
        Served::PoweredOff(off) => Ok(Ended::PoweredOff(off)),
        Served::TookOver { mut machine, identity, generation, live_ns, writes_from_ns } => {
            listener.keep_for(identity.vm);
            let origin = Origin::TookOver { generation, live_ns, writes_from_ns };
            primary::run(site, means, identity, &mut machine, origin, None)
        }
    }
}
