//! What the threads of a seed say, on its way to the secondary and to the controller.

use ftlog::FrameKind;
use protocol::primary::controller::Event;

use super::{FRAMES_WAITING, Letter, Seeding};
use crate::link::primary::desk::Desk;

/// What is under way, unless there is more for the connection than it takes.
pub fn to_hear(desk: &Desk) -> Option<&Seeding> {
    desk.hands.seeding.as_ref().filter(|_| !desk.is_choked())
}

/// Reads some of what it says.
pub fn read_some(desk: &mut Desk) {
    if let Some(seeding) = &desk.hands.seeding {
        seeding.letters.acknowledge();
    }
    for _ in 0..FRAMES_WAITING {
        let Some(letter) = to_hear(desk).and_then(|seeding| seeding.letters.next()) else { break };
        read(desk, letter);
    }
    if let Some(seeding) = desk.hands.seeding.as_ref().filter(|seeding| !seeding.letters.is_empty()) {
        // There is more: come back after a look at the connection.
        seeding.letters.wake();
    }
}

fn read(desk: &mut Desk, letter: Letter) {
    match letter {
        Letter::Notice(what) => desk.hands.site.board.notice(what),
        Letter::Frame(kind, body) => send(desk, kind, &body),
        Letter::Progress(progress) => {
            desk.hands.figures.seed.iter_mut().for_each(|seed| seed.learn(progress));
        }
        Letter::Slow(degree) => desk.hands.orders.slow(degree),
        Letter::Compared => {
            if let Some(Seeding { link, generation, .. }) = desk.hands.seeding.take() {
                desk.hands.send_memory(link, generation);
            }
        }
        Letter::Nearly(transfer) => {
            if let Some(Seeding { link, generation, .. }) = desk.hands.seeding.take() {
                desk.hands.followed.expect(link);
                desk.hands.orders.seed(link, generation, transfer);
            }
        }
        Letter::Failed(reason) => {
            if let Some(Seeding { link, .. }) = desk.hands.seeding.take() {
                desk.tell(Event::SeedFailed { link, reason });
            }
        }
    }
}

fn send(desk: &mut Desk, kind: FrameKind, body: &[u8]) {
    if let Some(link) = desk.hands.seeding.as_ref().map(|seeding| seeding.link) {
        desk.send(link, kind, body);
    }
}
