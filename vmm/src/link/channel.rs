//! How the way to the other side is to be used for what is much.

use protocol::seeding::Target;

/// How a seed is sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Channel {
    /// How short the stop of the guest is to be.
    pub target: Target,
    /// Bytes a second that the guest's memory may take at most, if that is bounded.
    pub limit: Option<u64>,
}
