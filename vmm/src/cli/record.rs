//! `ftvmm record` and `ftvmm replay`.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    sync::Arc,
};

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use machine::kvm::Host;
use replay::{
    StopSwitch, live,
    logfile::{Player, Recording, Summary},
};
use serde_json::json;

use super::{
    exit,
    vm::{PatienceOption, VmOptions},
};
use crate::{
    alone::{Observed, Recorded},
    control::{Board, Server},
    disk::Use,
    host::{
        bell::Bell,
        clock::{self, VirtualClock},
    },
    ingress::{HostInput, Inbox, TapReader, Timer},
    shutdown,
};

/// Run a VM and write its execution to a file, from which `ftvmm replay` repeats it bit for bit
///
/// The recording ends when the guest switches off, or with SIGTERM or SIGINT. An example:
///
///   ftvmm record --kernel builtin:clocks --log clocks.ftlog
#[derive(Args)]
pub struct Record {
    #[command(flatten)]
    vm: VmOptions,
    #[command(flatten)]
    patience: PatienceOption,
    /// The file, which must not exist; it is self-contained, and only its owner can read it, since all of the guest's
    /// memory is in it
    #[arg(long, value_name = "FILE")]
    log: PathBuf,
    /// Replace the file of --log if it exists
    #[arg(long)]
    force: bool,
    /// Unix socket at which `ftvmm status` is answered
    #[arg(long, value_name = "SOCKET")]
    control: Option<PathBuf>,
}

impl Record {
    pub fn execute(self) -> anyhow::Result<u8> {
        shutdown::survive_surroundings();
        let inbox = Arc::new(Inbox::default());
        let stop = StopSwitch::default();
        let board = Board::default();
        let outlets = self.vm.outlets(Use::Alone, &inbox, &stop, &board)?;
        let _control = self.control.map(|path| Server::start(&path, board.clone())).transpose()?;
        let wall_base_ns = clock::wall_ns();
        let host = Host::open()?;
        let cpu = self.vm.cpu(&host)?;
        let mut machine = self.vm.boot(&host, cpu, wall_base_ns, &outlets)?;
        shutdown::on_signal(&stop, &inbox)?;
        let shape = self.vm.shape(cpu, &outlets);
        let mut recording = Recording::create(&self.log, self.force, &mut machine, shape, wall_base_ns)?;
        let net = machine.platform().net();
        let _reader = TapReader::start(outlets.tap.as_ref(), net, &inbox, &board, Bell::new()?)?;
        outlets.announce(net);
        let clock = VirtualClock::starting_at(0);
        let mut input = HostInput::attach(&inbox, clock, &stop, Timer::new()?, machine.doorbell())?;
        let mut witness = Recorded::new(&mut recording, outlets.clone(), board.clone());
        let mut witness = Observed::new(&mut witness, board, outlets.tap.clone());
        let ended = live::run(&mut machine, self.patience.get(), &mut input, &mut witness);
        outlets.console.close();
        let ended = ended?;
        recording.finish(&mut machine)?;
        Ok(exit::of_machine(ended))
    }
}

/// Repeat a recorded execution and verify it: the digest at every sync point, and all state at the end
///
/// Needs nothing but the log: no image, no network, no flags. A log that is damaged, cut off, of another version, or
/// that this program's replay does not agree with is refused with the position where that showed.
#[derive(Args)]
pub struct Replay {
    /// A file that `ftvmm record` wrote
    #[arg(long, value_name = "FILE")]
    log: PathBuf,
    /// Show what the guest writes to its console
    #[arg(long)]
    show_console: bool,
    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub fn execute(self) -> anyhow::Result<u8> {
        let player = Player::open(&self.log, &Host::open()?)?;
        let bar = self.progress_bar()?;
        let summary = player.play(&mut |bytes| bar.set_position(bytes), &mut |bytes| {
            if self.show_console {
                let _ = std::io::stdout().write_all(bytes);
            }
        });
        bar.finish_and_clear();
        std::io::stdout().write_all(describe(&summary?, self.json).as_bytes()).context("standard output")?;
        Ok(0)
    }

    fn progress_bar(&self) -> anyhow::Result<ProgressBar> {
        if self.show_console || !std::io::stderr().is_terminal() {
            return Ok(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("replaying {bar:40} {bytes}/{total_bytes} {eta}")?;
        Ok(ProgressBar::new(self.log.metadata()?.len()).with_style(style))
    }
}

fn describe(summary: &Summary, as_json: bool) -> String {
    let guest_s = summary.guest_ns as f64 / 1e9;
    let elapsed_s = summary.elapsed.as_secs_f64();
    let bytes_per_guest_s = if guest_s > 0.0 { summary.log_bytes as f64 / guest_s } else { 0.0 };
    let speed = if elapsed_s > 0.0 { guest_s / elapsed_s } else { 0.0 };
    let digests = &summary.end.digests;
    if as_json {
        let object = json!({
            "sync_points": summary.sync_points,
            "events": summary.events,
            "guest_s": guest_s,
            "log_bytes": summary.log_bytes,
            "state_bytes": summary.state_bytes,
            "log_bytes_per_guest_s": bytes_per_guest_s,
            "replay_s": elapsed_s,
            "speed": speed,
            "memory_digest": format!("{:032x}", digests.memory),
            "vcpu_digest": format!("{:016x}", digests.vcpu),
            "platform_digest": format!("{:016x}", digests.platform),
            "running_digest": format!("{:016x}", digests.running),
        });
        return format!("{object}\n");
    }
    format!(
        "replayed and verified to {}\n  sync points     {}\n  events          {}\n  guest time      {guest_s:.3} s\n  \
         log             {} bytes, {bytes_per_guest_s:.0} bytes per second of guest time\n  \
         initial state   {} bytes\n  replay took     {elapsed_s:.3} s, {speed:.2} times the speed of the recording\n  \
         memory digest   {:032x}\n",
        summary.end.position,
        summary.sync_points,
        summary.events,
        summary.log_bytes,
        summary.state_bytes,
        digests.memory
    )
}
