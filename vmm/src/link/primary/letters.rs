//! What the threads of this side say, on its way to the controller.

use ftlog::{FrameKind, pages};
use protocol::primary::{PeerEvent, controller::Event};

use super::{
    desk::Desk,
    hearing,
    messages::{FromVcpu, Message},
};
use crate::link::{budget::Budget, mailbox::Letters};

/// Letters of the vCPU thread taken between two looks at the connection.
const LETTERS_AT_ONCE: usize = 64;

/// Reads what everybody but the vCPU thread has said.
pub fn read_all(desk: &mut Desk, letters: &Letters<Message>) {
    letters.acknowledge();
    while let Some(letter) = letters.next() {
        read(desk, letter);
    }
}

/// Reads some of what the vCPU thread has said, unless a seed has to wait for the connection.
pub fn read_from_vcpu(desk: &mut Desk, letters: &Letters<FromVcpu>, budget: &Budget) {
    letters.acknowledge();
    for _ in 0..LETTERS_AT_ONCE {
        if desk.is_choked() {
            break;
        }
        let Some(letter) = letters.next() else { return desk.flush() };
        take(desk, letter, budget);
    }
    desk.flush();
    // There may be more: come back after a look at the connection.
    letters.wake();
}

fn read(desk: &mut Desk, letter: Message) {
    match letter {
        Message::Claimed(generation, outcome) => desk.tell(Event::Claimed { generation, outcome }),
        Message::Looked(sight) => desk.tell(Event::Looked(sight)),
        Message::Connected(attempt, result) => {
            let result = result.map_err(|error| format!("{error:#}")).map(|reached| {
                let window_bytes = reached.1.window_bytes;
                desk.hands.reached.insert(attempt, *reached);
                window_bytes
            });
            desk.tell(Event::Connected { attempt, result });
            // Something may have come right behind the Welcome, which no poll will tell of.
            hearing::hear_peer(desk);
        }
        Message::Probed(attempt, result) => {
            let result = result.map_err(|error| format!("{error:#}"));
            desk.tell(Event::Probed { attempt, result });
        }
        Message::Command(pending) => {
            if let Some((asked, command)) = desk.hands.answers.take(pending) {
                desk.tell(Event::Asked { asked, command });
            }
        }
    }
}

fn take(desk: &mut Desk, letter: FromVcpu, budget: &Budget) {
    match letter {
        FromVcpu::Recorded(stretch) => {
            budget.give_back(stretch.bytes());
            desk.recorded(stretch);
        }
        FromVcpu::AskPages => desk.hands.ask_pages(),
        FromVcpu::SeedStarted(link, position) => {
            desk.tell_peer(link, PeerEvent::SeedStarted { position });
        }
        FromVcpu::SeedFrame(link, kind, body) => {
            budget.give_back(body.len() as u64);
            // The guest did not stand for that.
            let body = if kind == FrameKind::Pages { pages::compress(body) } else { body };
            desk.send(link, kind, &body);
        }
        FromVcpu::SeedFailed(link, reason) => desk.tell(Event::SeedFailed { link, reason }),
        FromVcpu::SeedSent(link, stop) => {
            desk.hands.figures.seed.iter_mut().for_each(|seed| seed.stopped(stop.clone()));
            desk.tell_peer(link, PeerEvent::SeedSent);
        }
        FromVcpu::Ended => desk.tell(Event::VcpuEnded),
    }
}
