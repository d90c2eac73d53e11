//! The virtual machine: one vCPU, its RAM and its devices, and the procedure at each sync point.
//!
//! An execution is a sequence of two alternating steps, the same on the side that decides what happens (live) and
//! on the side that is told (replay):
//!
//! ```text
//!   run_stretch()         begin again if the guest wants a reset, set the kernel-entry clock, deliver a pending interrupt, run the guest to its next sync point, take it into the digest
//!   finish_sync_point()   answer the exit, with the time and the events of this sync point
//! ```
//!
//! Between the two stands whoever owns the machine: it samples the clock and collects input, or it takes both from
//! the log.

mod entries;
mod error;
mod exits;
mod forced;
mod power_on;
mod saving;
mod state;
mod tally;

use devices::{Platform, PlatformConfig};
use ftlog::{ExitKind, Position};
use ftlog::{RegisterFile, RunningDigest};

pub use entries::EntryClock;
pub use error::{CreateError, MachineError};
pub use forced::InstallError;
pub use power_on::PowerOn;
pub use state::{MachineState, STATE_VERSION, StateError};
pub use tally::{Counts, EventCount, EventCounts, ExitCounts, Tally};

use crate::{
    boot::{self, Image},
    kvm::{Exit, Host, KvmError, Template, Vcpu, Vm},
    memory::{Doorbell, Memory},
    transfer::Source,
};

/// How a stretch ended: the sync point that comes next.
#[derive(Clone, Copy, Debug)]
pub struct Reached {
    exit: Exit,
    /// How the log names the exit.
    pub kind: ExitKind,
    /// The guest's count of kernel entries, if the exit is that of the kernel-entry clock.
    pub entries: Option<u64>,
    /// The registers at the exit.
    pub registers: RegisterFile,
    /// The running digest with this exit in it.
    pub digest: RunningDigest,
}

/// One virtual machine.
pub struct Machine {
    vcpu: Vcpu,
    vm: Vm,
    platform: Platform,
    /// The last sync point that is complete.
    position: Position,
    /// Virtual time there, ns.
    time_ns: u64,
    /// The guest stands at a `HLT` and nothing has woken it.
    halted: bool,
    /// A stretch was begun and not ended (a signal interrupted it): no interrupt may be delivered now.
    in_stretch: bool,
    digest: RunningDigest,
    /// The registers at the last exit.
    registers: RegisterFile,
    power_on: PowerOn,
    tally: Tally,
}

impl Machine {
    /// A machine at power-on, with `cpu` as its processor.
    pub fn boot(
        host: &Host,
        cpu: &'static Template,
        memory_mib: u32,
        devices: &PlatformConfig,
        image: &Image,
        command_line: &str,
    ) -> Result<Self, CreateError> {
        let memory = Memory::new(memory_mib)?;
        let vm = host.create_vm(cpu, memory, Doorbell::new()?)?;
        let mut vcpu = vm.create_vcpu()?;
        boot::load(vm.memory(), &mut vcpu, image, command_line)?;
        let power_on = PowerOn::capture(vm.memory(), &mut vcpu)?;
        let registers = vcpu.registers();
        Ok(Self {
            vcpu,
            vm,
            platform: Platform::new(devices),
            position: Position(0),
            time_ns: 0,
            halted: false,
            in_stretch: false,
            digest: RunningDigest::default(),
            registers,
            power_on,
            tally: Tally::default(),
        })
    }

    /// The registers at the last exit.
    pub fn registers(&self) -> &RegisterFile {
        &self.registers
    }

    /// Runs the guest to its next sync point; `None` when KVM was interrupted first, and the stretch goes on with
    /// the next call, with the same `clock`.
    pub fn run_stretch(&mut self, clock: EntryClock) -> Result<Option<Reached>, MachineError> {
        let exit = self.next_exit(clock)?;
        let Some(reached) = self.reach(exit) else { return Ok(None) };
        if matches!(exit, Exit::Halt) && !self.vcpu.interrupt_flag() {
            let registers = ftlog::describe(&self.registers);
            return Err(MachineError::DeadHalt { position: self.position.next(), registers });
        }
        Ok(Some(reached))
    }

    /// Ends the stretch, unless the log has nothing of such an end.
    fn reach(&mut self, exit: Exit) -> Option<Reached> {
        let (kind, address) = exit.sync_point()?;
        self.in_stretch = false;
        let registers = self.vcpu.registers();
        self.registers = registers;
        let written: &[u8] = match exit {
            Exit::PioWrite { .. } | Exit::MmioWrite { .. } => self.vcpu.data(),
            _ => &[],
        };
        self.digest.absorb_exit(kind, address, written, &registers);
        let entries = entries::entries_at(exit, &registers);
        Some(Reached { exit, kind, entries, registers, digest: self.digest })
    }

    /// Begins again, if the guest has asked for it. The next stretch would do so; whoever tells what is in memory before that
    /// is to tell what will be there.
    ///
    /// # Errors
    /// KVM's.
    pub fn reset_if_wanted(&mut self) -> Result<(), MachineError> {
        if self.platform.reset_wanted().is_some() { self.reset() } else { Ok(()) }
    }

    /// Begins again, because the guest has asked for it: as at power-on, but that time, positions, the running digest and
    /// what was asked of the disks go on.
    fn reset(&mut self) -> Result<(), MachineError> {
        let done = self.vcpu.leave_instruction().and_then(|()| {
            let Self { vm, vcpu, power_on, .. } = self;
            power_on.restore(vm.memory(), vcpu)
        });
        done.map_err(|source| self.failed(source))?;
        self.platform.reset();
        self.halted = false;
        self.registers = self.vcpu.registers();
        self.tally.add_reset();
        Ok(())
    }

    fn next_exit(&mut self, clock: EntryClock) -> Result<Exit, MachineError> {
        if !self.in_stretch {
            if !self.begin_stretch()? {
                // Nothing has happened for the guest: an empty stretch, from the halt to the same halt.
                return Ok(Exit::Halt);
            }
            self.wind(clock);
        }
        self.vcpu.run().map_err(|source| self.failed(source))
    }

    /// Whatever comes before the guest's first instruction; false if it has none, because nothing has woken it.
    fn begin_stretch(&mut self) -> Result<bool, MachineError> {
        self.reset_if_wanted()?;
        let woken = self.deliver_interrupt().map_err(|source| self.failed(source))?;
        self.in_stretch = woken || !self.halted;
        self.halted &= !woken;
        Ok(self.in_stretch)
    }

    /// Sets the deadline for the stretch that is about to be run.
    fn wind(&self, clock: EntryClock) {
        match clock {
            // An interrupt that the guest did not take now (another came first, or its flag is off) would wait for an
            // exit that may be far away.
            EntryClock::Live if self.platform.pending_vector().is_some() => self.doorbell().ring(),
            EntryClock::Live => {}
            EntryClock::Logged(Some(entries)) => self.doorbell().set(entries),
            EntryClock::Logged(None) => self.doorbell().reset(),
        }
    }

    /// Injects the most urgent pending interrupt if the guest would take it; true when it did.
    fn deliver_interrupt(&mut self) -> Result<bool, KvmError> {
        let Some(vector) = self.platform.pending_vector() else { return Ok(false) };
        if !self.vcpu.complete_exit()? || !self.vcpu.accepts_interrupt() {
            return Ok(false);
        }
        self.vcpu.inject(vector)?;
        self.platform.acknowledge_interrupt(vector);
        Ok(true)
    }

    /// The position of the last complete sync point.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Virtual time at [`Machine::position`], ns.
    pub fn time_ns(&self) -> u64 {
        self.time_ns
    }

    /// The running digest.
    pub fn digest(&self) -> RunningDigest {
        self.digest
    }

    /// The devices, to ask what they could take in.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// What a reset goes back to.
    pub fn power_on(&self) -> &PowerOn {
        &self.power_on
    }

    /// What it exited for, and what it was told.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// True when the machine stands between a position and the next stretch and can be saved: not where a signal
    /// interrupted it, and not between two exits of one instruction.
    pub fn is_at_rest(&mut self) -> Result<bool, MachineError> {
        Ok(!self.in_stretch && self.vcpu.complete_exit().map_err(|source| self.failed(source))?)
    }

    fn failed(&self, source: KvmError) -> MachineError {
        let registers = ftlog::describe(&self.registers);
        MachineError::Kvm { position: self.position, registers, source }
    }

    /// The deadline of the guest's kernel-entry clock.
    pub fn doorbell(&self) -> &Doorbell {
        self.vm.doorbell()
    }

    /// What its RAM is sent from while it runs.
    #[must_use]
    pub fn source(&self) -> Source {
        Source { vm: self.vm.clone(), boot_pages: self.power_on.boot_pages().clone() }
    }

    /// RAM.
    pub fn memory(&self) -> &Memory {
        self.vm.memory()
    }

    /// True when, standing at this exit, the guest waits for something that has not happened.
    pub fn is_idle_at(&self, reached: &Reached) -> bool {
        matches!(reached.exit, Exit::Halt) && self.platform.pending_vector().is_none()
    }
}
