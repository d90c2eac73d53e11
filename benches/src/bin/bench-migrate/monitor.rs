//! What a monitor is asked for.

use ftvmm::control::StopReport;
use serde::Serialize;

use crate::guest::Guest;

/// What a monitor says of the way of a guest to the other host.
#[derive(Debug, Clone, Serialize)]
pub struct Passage {
    /// How long the guest stood, ms.
    pub stop_ms: f64,
    /// In parts, where they are known.
    pub stop: Option<StopReport>,
    /// What it said after the stop was held for so long, ms, where anything is.
    pub held_ms: Option<f64>,
    /// From the beginning to the end, ms.
    pub total_ms: f64,
    /// Rounds over the guest's memory.
    pub rounds: f64,
    /// What was sent, MiB.
    pub sent_mib: f64,
    /// Which part of the time the guest stood at last so that the rounds came to an end, in percent, where that is done.
    pub slowed_percent: Option<u32>,
    /// The longest stop that it was allowed at last, ms, where there is such a limit.
    pub limit_ms: Option<u64>,
}

impl Passage {
    /// For how long nothing that the guest said got out, ms: it stood, or it ran on and was held back.
    pub fn silent_ms(&self) -> f64 {
        self.stop_ms + self.held_ms.unwrap_or_default()
    }
}

/// A monitor with a running guest.
pub trait Monitor {
    /// The guest, where it runs now.
    fn guest(&self) -> &Guest<'_>;

    /// Starts the other side, which waits.
    ///
    /// # Errors
    /// When it does not start.
    fn make_ready(&mut self) -> anyhow::Result<()>;

    /// Sends the guest there while it runs.
    ///
    /// # Errors
    /// When it does not come there.
    fn pass(&mut self) -> anyhow::Result<Passage>;

    /// Ends the side that is of no more use.
    ///
    /// # Errors
    /// When it does not end.
    fn let_go(&mut self) -> anyhow::Result<()>;

    /// Ends all that is left.
    ///
    /// # Errors
    /// When it does not end.
    fn end(self: Box<Self>) -> anyhow::Result<()>;
}

/// Bytes as MiB.
pub fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}
