//! `ftvmm run`.

use std::sync::Arc;

use clap::Args;

use super::{exit, vm::VmOptions};
use crate::{
    host::clock::{self, VirtualClock},
    ingress::{Inbox, TapReader},
    shutdown,
    step::{Input, StopSwitch, live, unprotected::Unprotected},
};

/// Run a VM without protection: the baseline of every comparison
///
/// SIGTERM and SIGINT end it in order. An example, with a TAP device that is made beforehand or by this command:
///
///   ftvmm run --kernel builtin:kv --net tap=vm0
#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    vm: VmOptions,
}

impl Run {
    pub fn execute(self) -> anyhow::Result<u8> {
        let inbox = Arc::new(Inbox::default());
        let outlets = self.vm.outlets(&inbox)?;
        let mut machine = self.vm.boot(clock::wall_ns())?;
        let stop = StopSwitch::default();
        shutdown::on_signal(&stop, &inbox)?;
        let _reader = outlets.tap.clone().map(|tap| TapReader::start(tap, inbox.clone())).transpose()?;
        let input = Input { inbox, clock: VirtualClock::starting_at(0), stop };
        let console = outlets.console.clone();
        let ended = live::run(&mut machine, &input, &mut Unprotected(outlets));
        console.flush();
        Ok(exit::of_machine(ended?))
    }
}
