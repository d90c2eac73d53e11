//! A trial: a small guest runs, and runs again from what was recorded of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use devices::{Output, PlatformConfig};
use ftlog::{Position, Step, StepRef};
use machine::{Machine, boot::Image, kvm::Host};
use replay::{Ended, StopSwitch, Witness, live, replayed};

use super::Finding;
use crate::{
    host::clock::VirtualClock,
    ingress::{HostInput, Timer},
};

const GUEST: &str = "builtin:exits";
/// As many exits and a few hundred for the guest's only line: some tens of ms on the slowest KVM.
const COMMAND_LINE: &str = "rounds=1000";
const MEMORY_MIB: u32 = 16;
/// The guest computes nothing for so long that it would have to be interrupted.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn examine() -> Finding {
    match replay_equals_recording() {
        Ok(found) => Finding::ok("trial", found),
        Err(error) => {
            let found = format!("{error:#}");
            Finding::missing(
                "trial",
                found,
                "this KVM cannot run or repeat a guest: use another kernel or host",
            )
        }
    }
}

fn replay_equals_recording() -> anyhow::Result<String> {
    let mut kept = Kept::default();
    let mut recorded = machine()?;
    let (stop, clock) = (StopSwitch::default(), VirtualClock::starting_at(0));
    let mut input = HostInput::attach(&Arc::default(), clock, &stop, Timer::new()?, recorded.doorbell())?;
    let begun = Instant::now();
    let ended = live::run(&mut recorded, PATIENCE, &mut input, &mut kept)?;
    let took = begun.elapsed();
    ensure!(
        ended == Ended::PoweredOff(devices::Off::Status(0)),
        "the guest ended otherwise than it should: {ended:?}"
    );

    let mut repeated = machine()?;
    let mut outputs = Vec::new();
    for (position, step) in &kept.steps {
        replayed::step(&mut repeated, *position, step, None, &mut outputs, &stop)?;
        outputs.clear();
    }
    let (first, second) = (recorded.digests()?, repeated.digests()?);
    ensure!(first == second, "the replay ended in another state: {second:?}, recorded was {first:?}");
    let count = kept.steps.len();
    Ok(format!("a guest ran through {count} sync points in {took:.0?}, and its replay ended alike"))
}

fn machine() -> anyhow::Result<Machine> {
    let devices =
        PlatformConfig { net: None, disks: Vec::new(), wall_base_ns: 0, on_panic: devices::OnPanic::Halt };
    let image = Image::open(GUEST, None)?;
    let host = Host::open()?;
    Ok(Machine::boot(&host, host.richest_cpu()?, MEMORY_MIB, &devices, &image, COMMAND_LINE)?)
}

/// Keeps the log in memory and lets nothing out.
#[derive(Default)]
struct Kept {
    steps: Vec<(Position, Step)>,
}

impl Witness for Kept {
    fn sync_point(
        &mut self,
        position: Position,
        step: StepRef<'_>,
        outputs: &mut Vec<Output>,
    ) -> anyhow::Result<()> {
        outputs.clear();
        let StepRef { time_ns, exit, digest, entries, events, registers } = step;
        let (events, registers) = (events.to_vec(), registers.map(|registers| Box::new(*registers)));
        self.steps.push((position, Step { time_ns, exit, digest, entries, events, registers }));
        Ok(())
    }
}
