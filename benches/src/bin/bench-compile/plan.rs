//! How much is measured.

/// How much is measured.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Plan {
    /// Rounds.
    pub rounds: u32,
    /// Files to compile; all without.
    pub files: Option<u32>,
    /// Files compiled before: they have the compiler read from the disk.
    pub warm: u32,
    /// Seconds of idling.
    pub idle: u32,
}
