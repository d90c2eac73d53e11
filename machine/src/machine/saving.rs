//! Taking a machine's state, and going on from one.

use devices::Platform;
use ftlog::{RunningDigest, StateDigests};
use xxhash_rust::xxh3::xxh3_64;

use super::{CreateError, Machine, MachineError, MachineState, PowerOn, STATE_VERSION, StateError, Tally};
use crate::{
    boot_pages::BootPages,
    kvm::{Host, Template},
    memory::{Doorbell, Memory},
};

impl Machine {
    /// The state at [`Machine::position`]. RAM is read separately, before the guest runs on.
    pub fn save(&mut self) -> Result<MachineState, MachineError> {
        let vcpu = self.vcpu.save().map_err(|source| self.failed(source))?;
        let Self {
            vcpu: _,
            vm: _,
            platform,
            position,
            time_ns,
            halted,
            in_stretch,
            digest,
            registers: _,
            power_on,
            tally: _,
        } = self;
        debug_assert!(!*in_stretch, "a state is saved only between a sync point and a stretch");
        Ok(MachineState {
            version: STATE_VERSION,
            vcpu,
            platform: platform.save(),
            position: *position,
            time_ns: *time_ns,
            halted: *halted,
            digest: digest.value(),
            power_on: power_on.vcpu.clone(),
            power_on_pages: power_on.boot.digest(),
        })
    }

    /// A machine with `cpu` as its processor and `memory` as its RAM that goes on from `state`; at power-on its RAM held
    /// `boot`.
    pub fn restore(
        host: &Host,
        cpu: &'static Template,
        memory: Memory,
        state: MachineState,
        boot: BootPages,
    ) -> Result<Self, CreateError> {
        let MachineState {
            version: _,
            vcpu: vcpu_state,
            platform,
            position,
            time_ns,
            halted,
            digest,
            power_on,
            power_on_pages: _,
        } = &state;
        let power_on = PowerOn { boot, vcpu: power_on.clone() };
        let platform = Platform::restore(platform, memory.guest()).map_err(StateError::Platform)?;
        let vm = host.create_vm(cpu, memory, Doorbell::new().map_err(CreateError::Memory)?)?;
        let mut vcpu = vm.create_vcpu()?;
        vcpu.restore(vcpu_state)?;
        let registers = vcpu.registers();
        Ok(Self {
            vcpu,
            vm,
            platform,
            position: *position,
            time_ns: *time_ns,
            halted: *halted,
            in_stretch: false,
            digest: RunningDigest::from_value(*digest),
            registers,
            power_on,
            tally: Tally::default(),
        })
    }

    /// Digests of all state, for comparing the ends of two executions.
    pub fn digests(&mut self) -> Result<StateDigests, MachineError> {
        let state = self.save()?;
        let platform = postcard::to_stdvec(&(&state.platform, state.halted)).expect("a device state encodes");
        Ok(StateDigests {
            memory: self.memory().digest(),
            vcpu: state.vcpu.digest(),
            platform: xxh3_64(&platform),
            running: state.digest,
        })
    }
}
