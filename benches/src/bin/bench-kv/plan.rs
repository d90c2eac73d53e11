//! How much is measured.

/// How much is measured.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Plan {
    /// Rounds.
    pub rounds: u32,
    /// Requests of each command.
    pub requests: u32,
    /// Kills of the primary.
    pub kills: u32,
}
