//! A machine's state beside its RAM, as a value: what a log begins with and what a secondary is seeded with.

use std::sync::Arc;

use devices::{Platform, PlatformState};
use ftlog::RunningDigest;
use ftlog::{Position, StateDigests};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{ArrivingPages, CreateError, Machine, MachineError, PowerOn, Tally};
use crate::{
    kvm::{Host, Template, VcpuState},
    memory::{Doorbell, Memory},
};

/// Version of [`MachineState`]; a state of another version is refused.
pub const STATE_VERSION: u16 = 2;

/// Why a saved state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It does not decode.
    #[error("the saved machine state does not decode: {0}")]
    Decode(postcard::Error),
    /// It was written by another version.
    #[error("the saved machine state has version {found}, this program reads version {STATE_VERSION}")]
    Version {
        /// The version found.
        found: u16,
    },
    /// Something follows it.
    #[error("{0} bytes follow the saved machine state")]
    Trailing(usize),
    /// What a reset would go back to is not what came before it.
    #[error(
        "a frame of the memory at power-on, for a reset, is missing or another than the saved machine state says"
    )]
    PowerOn,
    /// The devices refuse theirs.
    #[error("the saved device state is not valid: {0}")]
    Platform(devices::StateError),
}

/// Everything a machine is, its RAM apart, at a complete sync point.
#[derive(Serialize, Deserialize)]
pub struct MachineState {
    version: u16,
    vcpu: VcpuState,
    platform: PlatformState,
    position: Position,
    time_ns: u64,
    halted: bool,
    digest: u64,
    /// The vCPU at power-on.
    power_on: Arc<VcpuState>,
    /// Digest of the pages that hold anything at power-on, which come before this.
    power_on_pages: u128,
}

impl MachineState {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a machine state encodes")
    }

    /// From bytes that are not trusted.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        // The version comes first, so that the rest of another version's state need not decode.
        let (version, _) = postcard::take_from_bytes(bytes).map_err(StateError::Decode)?;
        if version != STATE_VERSION {
            return Err(StateError::Version { found: version });
        }
        let (state, rest) = postcard::take_from_bytes(bytes).map_err(StateError::Decode)?;
        if rest.is_empty() { Ok(state) } else { Err(StateError::Trailing(rest.len())) }
    }

    /// The sync point it was taken at.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether these pages are those at power-on.
    pub fn has_begun_with(&self, pages: &ArrivingPages) -> Result<(), StateError> {
        if pages.digest() == self.power_on_pages { Ok(()) } else { Err(StateError::PowerOn) }
    }

    /// Virtual time there, ns.
    pub fn time_ns(&self) -> u64 {
        self.time_ns
    }
}

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
            power_on_pages: power_on.digest,
        })
    }

    /// A machine with `cpu` as its processor and `memory` as its RAM that goes on from `state`; at power-on its RAM held
    /// `power_on_pages`.
    pub fn restore(
        host: &Host,
        cpu: &'static Template,
        memory: Memory,
        state: MachineState,
        power_on_pages: ArrivingPages,
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
        let power_on = PowerOn::new(power_on_pages.into_bodies(), power_on.clone());
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
