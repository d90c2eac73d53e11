//! What the comparison of the disks says before a seed, on its way to the secondary.

use ftlog::FrameKind;
use protocol::primary::controller::Event;

use super::{
    desk::Desk,
    resync::{self, Letter, Resync},
};

/// The comparison, unless there is more for the connection than it takes.
pub fn comparison_to_hear(desk: &Desk) -> Option<&Resync> {
    desk.hands.resync.as_ref().filter(|_| !desk.is_choked())
}

/// Reads some of what it says.
pub fn read_comparison(desk: &mut Desk) {
    if let Some(resync) = &desk.hands.resync {
        resync.letters.acknowledge();
    }
    for _ in 0..resync::BLOCKS_WAITING {
        let Some(letter) = comparison_to_hear(desk).and_then(|resync| resync.letters.next()) else { break };
        read(desk, letter);
    }
    if let Some(resync) = desk.hands.resync.as_ref().filter(|resync| !resync.letters.is_empty()) {
        // There is more: come back after a look at the connection.
        resync.letters.wake();
    }
}

fn read(desk: &mut Desk, letter: Letter) {
    match letter {
        Letter::Regions(what, body) => {
            desk.hands.site.board.notice(what);
            send(desk, FrameKind::DiskRegions, &body);
        }
        Letter::Block(body) => send(desk, FrameKind::DiskBlock, &body),
        Letter::Nearly => {
            if let Some(Resync { link, generation, .. }) = desk.hands.resync.take() {
                desk.hands.orders.seed(link, generation);
            }
        }
        Letter::Failed(reason) => {
            if let Some(Resync { link, .. }) = desk.hands.resync.take() {
                desk.tell(Event::SeedFailed { link, reason });
            }
        }
    }
}

fn send(desk: &mut Desk, kind: FrameKind, body: &[u8]) {
    if let Some(link) = desk.hands.resync.as_ref().map(|resync| resync.link) {
        desk.send(link, kind, body);
    }
}
