//! A machine's state beside its RAM, as a value: what a log begins with and what a secondary is seeded with.

use std::sync::Arc;

use devices::PlatformState;
use ftlog::Position;
use serde::{Deserialize, Serialize};

use crate::{boot_pages::BootPages, kvm::VcpuState};

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
    pub(super) version: u16,
    pub(super) vcpu: VcpuState,
    pub(super) platform: PlatformState,
    pub(super) position: Position,
    pub(super) time_ns: u64,
    pub(super) halted: bool,
    pub(super) digest: u64,
    /// The vCPU at power-on.
    pub(super) power_on: Arc<VcpuState>,
    /// Digest of the pages that hold anything at power-on, which come before this.
    pub(super) power_on_pages: u128,
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
    pub fn has_begun_with(&self, pages: &BootPages) -> Result<(), StateError> {
        if pages.digest() == self.power_on_pages { Ok(()) } else { Err(StateError::PowerOn) }
    }

    /// Virtual time there, ns.
    pub fn time_ns(&self) -> u64 {
        self.time_ns
    }
}
