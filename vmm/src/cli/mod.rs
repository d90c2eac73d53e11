//! The command line.

mod arbiter;
mod config;
mod console;
mod control;
mod demo;
mod disk;
mod doctor;
mod exit;
mod pair;
mod protect;
mod record;
mod run;
mod seed;
mod start;
mod vm;

use clap::{CommandFactory, Parser, Subcommand};

pub use exit::report;

use crate::control::Request;

/// A fault-tolerant virtual machine monitor
///
/// A primary runs the VM and streams its nondeterministic events to a secondary on another host, which replays them
/// in lockstep. Nothing the guest says leaves before the secondary holds the log behind it; when the primary dies the
/// secondary takes over at once, and no acknowledged effect is lost.
///
/// Start with `ftvmm demo`, which shows all of it on this machine, or with `ftvmm doctor`, which says whether this
/// machine can.
#[derive(Parser)]
#[command(name = "ftvmm", version, max_term_width = 110, after_help = EXIT_STATUS, args_override_self = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_STATUS: &str = "Exit status: 0 done; 1 the guest switched off with a status that is not 0; \
2 the command line is wrong; 3 anything else that failed; 4 the VM is not started, because it runs elsewhere or \
something would be lost by it; 5 the guest panicked. FTVMM_LOG sets what is logged to standard error \
(error, warn, info, debug).";

#[derive(Subcommand)]
enum Command {
    Run(run::Run),
    Primary(pair::Primary),
    Secondary(pair::Secondary),
    Record(record::Record),
    Replay(record::Replay),
    /// Show what a primary or secondary is doing: position, lag, log rate, commit delay, the last takeover
    ///
    /// The first line says which part the process plays and where it is: a primary is unprotected, seeding, protected,
    /// arbitrating (it lost its secondary and asks who may go on) or halted; a secondary is listening, seeding,
    /// following, draining or arbitrating. The rest is explained in the README.
    Status(control::Target),
    /// Give an unprotected primary a secondary
    ///
    /// The guest runs on while its memory is sent, and stands for some milliseconds in the end. Without --wait the answer
    /// comes at once; the VM is protected as soon as `status` says so. The primary keeps trying until the secondary
    /// answers.
    Protect(protect::Destination),
    /// Make the primary fail, and report how its secondary took over
    ///
    /// The primary stops as a dead host would and its process ends; the VM goes on at the secondary. Refused when
    /// there is no secondary that could take over.
    TestFailover(control::Target),
    /// Have the secondary drop its VM, and seed it again
    ///
    /// The VM runs unprotected until the new seed is whole.
    TestRestartSecondary(control::Target),
    /// Suspend protection: let go of the secondary until `resume`
    ///
    /// It is the protection that is suspended. The VM runs on, unprotected.
    Suspend(control::Target),
    /// Resume protection after `suspend`: look for the secondary again
    Resume(control::Target),
    /// Turn protection off: let go of the secondary for good
    ///
    /// It is the protection that is turned off. The VM runs on, unprotected, until `protect` gives it a secondary.
    TurnOff(control::Target),
    /// Let go of the secondary and seed one on another host
    ///
    /// The VM runs unprotected in between.
    MigrateSecondary(protect::Destination),
    Arbiter(arbiter::Arbiter),
    Console(console::Console),
    Disk(disk::Disk),
    Demo(demo::Demo),
    Doctor(doctor::Doctor),
}

impl Cli {
    /// The command line of this process, with the options of its `--config` file. A wrong one ends the process.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read() -> anyhow::Result<Self> {
        Ok(Self::parse_from(config::expand(std::env::args_os().collect(), &Self::command())?))
    }

    /// Does what the command line says; returns the process's exit status.
    pub fn execute(self) -> anyhow::Result<u8> {
        match self.command {
            Command::Run(run) => run.execute(),
            Command::Primary(primary) => primary.execute(),
            Command::Secondary(secondary) => secondary.execute(),
            Command::Record(record) => record.execute(),
            Command::Replay(replay) => replay.execute(),
            Command::Status(target) => target.status(),
            Command::Protect(destination) => destination.protect(),
            Command::TestFailover(target) => target.command(&Request::TestFailover),
            Command::TestRestartSecondary(target) => target.command(&Request::TestRestartSecondary),
            Command::Suspend(target) => target.command(&Request::Suspend),
            Command::Resume(target) => target.command(&Request::Resume),
            Command::TurnOff(target) => target.command(&Request::TurnOff),
            Command::MigrateSecondary(destination) => destination.migrate(),
            Command::Arbiter(arbiter) => arbiter.execute(),
            Command::Console(console) => console.execute(),
            Command::Disk(disk) => disk.execute(),
            Command::Demo(demo) => demo.execute(),
            Command::Doctor(doctor) => doctor.execute(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of commands whose name could be of the VM and is of its protection.
    #[test]
    fn the_help_of_suspend_and_turn_off_tells_protection_from_the_vm() {
        let mut program = Cli::command();
        for (name, what) in [
            ("suspend", "It is the protection that is suspended"),
            ("turn-off", "It is the protection that is turned off"),
        ] {
            let list = program.render_help().to_string();
            let line = list.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default();
            assert!(line.contains("protection"), "{list}");
            let help = program.find_subcommand_mut(name).unwrap().render_long_help().to_string();
            assert!(help.contains(what) && help.contains("The VM runs on"), "{help}");
        }
    }
}
