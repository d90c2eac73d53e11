//! What `status` tells of the devices.

use devices::NetDrops;
use serde::{Deserialize, Serialize};

/// The console on this side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleReport {
    /// Where it is, as `--console` takes it, with the whole path.
    pub target: String,
    /// What the guest said and this side could not pass on in time, bytes.
    pub dropped_bytes: u64,
}

/// A disk on this side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskReport {
    /// Its file here.
    pub path: String,
    /// Where its data are: replicated, shared.
    pub mode: String,
    /// The guest cannot write it.
    pub readonly: bool,
    /// Its size in bytes.
    pub bytes: u64,
    /// Requests that the guest waits for.
    pub in_flight: u64,
    /// Requests that failed here.
    pub errors: u64,
    /// While the copies of a replicated disk are made equal.
    pub resync: Option<ResyncReport>,
    /// Since when it is known what was written to the copy: a secondary that was equal to it then, or since, is made
    /// equal again by comparing that alone.
    pub base: Option<BaseReport>,
}

/// A position of the VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseReport {
    /// The generation.
    pub generation: u64,
    /// The position in it.
    pub position: u64,
}

/// How far the copies of a disk are made equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResyncReport {
    /// Compared so far, bytes.
    pub compared_bytes: u64,
    /// To be compared, bytes; 0 until that is known. What both copies have not changed since they were equal is not.
    pub total_bytes: u64,
    /// Sent (primary) or written (secondary), bytes.
    pub moved_bytes: u64,
}

/// The network card on the side that runs the VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetReport {
    /// The TAP device.
    pub tap: String,
    /// The TAP device is there.
    pub attached: bool,
    /// Frames that the guest's card dropped since power-on, by reason.
    pub drops: NetDrops,
    /// Frames of the guest that this host did not take, since this process has had the TAP device.
    pub untaken: u64,
}
