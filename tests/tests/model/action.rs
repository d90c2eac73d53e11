//! What can happen to a pair, and how far that is followed.

/// How far the exploration goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Positions the VM reaches on the primary.
    pub positions: u64,
    /// Connections that the primary makes.
    pub links: u32,
    /// Claims that get no answer.
    pub unanswered: u32,
    /// Crashes between two effects.
    pub fuses: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    Primary,
    Secondary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The primary connects to a listening secondary.
    Connect,
    /// The primary's VM is paused and its state is sent.
    Seed,
    SeedSent,
    /// The primary's VM comes to the next position and says something.
    Step,
    Execute,
    DeliverToSecondary,
    DeliverToPrimary,
    TimeoutAtPrimary,
    TimeoutAtSecondary,
    Detach,
    /// The arbiter decides a claim and answers.
    Decide(Side),
    /// The arbiter decides, or does not, and the answer is lost.
    DecideUnheard(Side),
    Ignore(Side),
    Retry(Side),
    /// The primary looks at the arbiter.
    Look,
    Crash(Side),
    /// The side will crash after this many further effects.
    Fuse(Side, u8),
}

impl Action {
    pub const ALL: [Self; 25] = [
        Self::Connect,
        Self::Seed,
        Self::SeedSent,
        Self::Step,
        Self::Execute,
        Self::DeliverToSecondary,
        Self::DeliverToPrimary,
        Self::TimeoutAtPrimary,
        Self::TimeoutAtSecondary,
        Self::Detach,
        Self::Decide(Side::Primary),
        Self::Decide(Side::Secondary),
        Self::DecideUnheard(Side::Primary),
        Self::DecideUnheard(Side::Secondary),
        Self::Ignore(Side::Primary),
        Self::Ignore(Side::Secondary),
        Self::Retry(Side::Primary),
        Self::Retry(Side::Secondary),
        Self::Look,
        Self::Crash(Side::Primary),
        Self::Crash(Side::Secondary),
        Self::Fuse(Side::Primary, 1),
        Self::Fuse(Side::Primary, 2),
        Self::Fuse(Side::Secondary, 1),
        Self::Fuse(Side::Secondary, 2),
    ];
}
