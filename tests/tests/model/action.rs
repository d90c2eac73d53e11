//! What can happen to a pair, and how far that is followed.

/// How far the exploration goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Positions the VM reaches on the primary.
    pub positions: u64,
    /// Connections that the first primary makes.
    pub links: u32,
    /// Positions and connections more, once somebody took over.
    pub positions_after: u64,
    pub links_after: u32,
    /// Claims that get no answer.
    pub unanswered: u32,
    /// Crashes between two effects.
    pub fuses: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    Primary,
    Secondary,
    /// Was the primary until the secondary took over, and may not know that.
    Former,
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
    /// Who took over is the primary from here on, a third host will be its secondary, and the old primary is still there.
    Succeed,
    FormerLooks,
    TimeoutAtFormer,
    Crash(Side),
    /// The side will crash after this many further effects.
    Fuse(Side, u8),
}

impl Action {
    pub const ALL: [Self; 29] = [
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
        Self::Succeed,
        Self::FormerLooks,
        Self::TimeoutAtFormer,
        Self::Decide(Side::Former),
        Self::Crash(Side::Primary),
        Self::Crash(Side::Secondary),
        Self::Fuse(Side::Primary, 1),
        Self::Fuse(Side::Primary, 2),
        Self::Fuse(Side::Secondary, 1),
        Self::Fuse(Side::Secondary, 2),
    ];
}
