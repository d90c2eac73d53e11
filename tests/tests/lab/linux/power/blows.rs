//! What befalls the pair, and in which order.

use ftlog::DiskMode;
use ftvmm::demo::random::Random;
use ftvmm_tests::harness;

/// The blows, before they are shuffled, from the front and again as often as it takes; see [`how_many`].
const BLOWS: [Blow; 8] = [
    Blow::Primary,
    Blow::Network,
    Blow::Primary,
    Blow::Secondary,
    Blow::Primary,
    Blow::Primary,
    Blow::Secondary,
    Blow::Primary,
];

/// What befalls the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// The primary's host loses power.
    Primary,
    /// The secondary's host loses power.
    Secondary,
    /// The hosts cannot hear each other any more; both hear the clients.
    Network,
}

/// How many blows there are unless `FTVMM_KILLS` says otherwise. With the other tests of the lab the primary's host
/// loses power ten times. Replicated disks are compared after each blow, which takes most of these tests' time.
fn how_many(mode: DiskMode) -> u64 {
    match mode {
        DiskMode::Shared => 8,
        DiskMode::Replicated => 5,
    }
}

/// Blows in a random order.
pub fn blows(mode: DiskMode, random: &mut Random) -> Vec<Blow> {
    let count = harness::number("FTVMM_KILLS").unwrap_or_else(|| how_many(mode)) as usize;
    let mut blows = BLOWS.repeat(count.div_ceil(BLOWS.len()));
    blows.truncate(count);
    for last in (1..count).rev() {
        blows.swap(last, random.below(last as u64 + 1) as usize);
    }
    blows
}
