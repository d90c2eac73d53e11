//! What one side tells another of a VM that it is asked about.

use serde::{Deserialize, Serialize};

use crate::arbiter::{Latest, Whereabouts, time};

/// The answer to "may I start this VM?".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The host that answers.
    pub host: String,
    /// This side runs the VM.
    pub runs: bool,
    /// This side holds the VM and may be about to run it.
    pub holds: bool,
    /// Since when, in the words of the arbiter's record as it is seen there.
    pub since: Option<String>,
    /// The holder that the arbiter names was a process of that host and has ended.
    pub holder_gone: bool,
}

impl Presence {
    /// What a host, with this process on it, can say when `latest` is what the arbiter knows.
    #[must_use]
    pub fn new(here: &crate::arbiter::Holder, runs: bool, holds: bool, latest: Option<&Latest>) -> Self {
        Self {
            host: here.host.clone(),
            runs,
            holds,
            since: latest.map(|latest| time(latest.entry.since_ms)),
            holder_gone: latest
                .is_some_and(|latest| latest.entry.holder.whereabouts(here) == Whereabouts::Gone),
        }
    }
}
