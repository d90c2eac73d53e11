//! `ftvmm run`.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use machine::kvm::Host;
use replay::{StopSwitch, live};

use super::{
    exit,
    vm::{PatienceOption, VmOptions},
};
use crate::{
    alone::{Observed, Unprotected},
    control::{Board, Server},
    disk::Use,
    host::{
        bell::Bell,
        clock::{self, VirtualClock},
    },
    ingress::{HostInput, Inbox, TapReader, Timer},
    shutdown,
};

/// Run a VM without protection: the baseline of every comparison
///
/// SIGTERM and SIGINT end it in order. An example, with a TAP device that is made beforehand:
///
///   ip tuntap add dev vm0 mode tap && ip link set vm0 up
///   ftvmm run --kernel builtin:kv --net tap=vm0
#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    vm: VmOptions,
    #[command(flatten)]
    patience: PatienceOption,
    /// Unix socket at which `ftvmm status` is answered
    #[arg(long, value_name = "SOCKET")]
    control: Option<PathBuf>,
}

impl Run {
    pub fn execute(self) -> anyhow::Result<u8> {
        shutdown::survive_surroundings();
        let inbox = Arc::new(Inbox::default());
        let stop = StopSwitch::default();
        let board = Board::default();
        let outlets = self.vm.outlets(Use::Alone, &inbox, &stop, &board)?;
        let _control = self.control.map(|path| Server::start(&path, board.clone())).transpose()?;
        let host = Host::open()?;
        let mut machine = self.vm.boot(&host, self.vm.cpu(&host)?, clock::wall_ns(), &outlets)?;
        shutdown::on_signal(&stop, &inbox)?;
        let net = machine.platform().net();
        let _reader = TapReader::start(outlets.tap.as_ref(), net, &inbox, &board, Bell::new()?)?;
        outlets.announce(net);
        let clock = VirtualClock::starting_at(0);
        let mut input = HostInput::attach(&inbox, clock, &stop, Timer::new()?, machine.doorbell())?;
        let (console, tap) = (outlets.console.clone(), outlets.tap.clone());
        let mut witness = Unprotected(outlets);
        let mut witness = Observed::new(&mut witness, board, tap);
        let ended = live::run(&mut machine, self.patience.get(), &mut input, &mut witness);
        console.close();
        Ok(exit::of_machine(ended?))
    }
}
