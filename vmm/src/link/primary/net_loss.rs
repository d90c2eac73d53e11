//! A primary whose TAP device is gone: the VM runs, and nobody can reach it here.

use std::time::Duration;

use protocol::primary::Phase;

use super::{orders::Halted, thread::LinkThread};
use crate::host::clock::monotonic_ns;

/// For how long the device may be gone before the VM is handed over: longer than it takes to make it again.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a protected primary does whose TAP device is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnNetLoss {
    /// Runs on, and attaches again when a device of that name is back.
    #[default]
    Keep,
    /// The same, but when it is gone for 2 s, this side stops and its secondary takes over.
    Handover,
}

impl LinkThread {
    /// Hands the VM over when it is cut off here, and that is wanted.
    pub(super) fn watch_network(&mut self) {
        let gone = self.site.outlets.tap.as_ref().is_some_and(|tap| !tap.is_attached());
        if !gone {
            self.net_lost_ns = None;
            return;
        }
        let now_ns = monotonic_ns();
        let since_ns = *self.net_lost_ns.get_or_insert(now_ns);
        let wanted = self.site.on_net_loss == OnNetLoss::Handover && !self.halted;
        let possible = self.core.phase() == Phase::Protected && self.detaching.is_none();
        if wanted && possible && now_ns - since_ns >= PATIENCE.as_nanos() as u64 {
            self.stream = None;
            self.halt(Halted::CutOff);
        }
    }
}
