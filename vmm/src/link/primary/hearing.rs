//! What the secondary says, on its way to the controller.

use ftlog::{Frame, FrameKind};
use protocol::{
    LossReason,
    primary::{Link, PeerEvent, controller::Event},
};

use super::{desk::Desk, hands::Hands, seeding::Seeding, wire};

/// Hears all that is there.
pub fn hear_peer(desk: &mut Desk) {
    while let Some(wire) = &mut desk.hands.wire {
        let link = wire.link;
        if desk.hands.seeding.as_ref().is_some_and(Seeding::is_full) {
            return desk.tell_peer(link, PeerEvent::Heard);
        }
        match wire.connection.receive() {
            Ok(Some(frame)) => hear(desk, link, &frame),
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "connection to the secondary");
                return desk.tell_peer(link, PeerEvent::Lost(error.into()));
            }
        }
    }
}

fn hear(desk: &mut Desk, link: Link, frame: &Frame) {
    match frame.kind {
        FrameKind::Diverged => {
            let Hands { wire: Some(wire), registers, site, .. } = &mut desk.hands else { return };
            match wire::answer_divergence(wire, frame, registers) {
                Ok(text) => {
                    site.board.notice(text);
                    desk.tell(Event::PeerDiverged { link });
                }
                Err(error) => {
                    site.board.notice(format!("{error:#}"));
                    desk.tell_peer(link, PeerEvent::Lost(LossReason::Damaged));
                }
            }
        }
        FrameKind::Refuse => desk.tell(Event::PeerRefuses { link, reason: wire::refusal(frame) }),
        FrameKind::DiskBases | FrameKind::DiskDigests | FrameKind::PageDigests | FrameKind::SeedRound => {
            let heard = match &desk.hands.seeding {
                Some(seeding) => seeding.hear(frame),
                None if frame.kind == FrameKind::PageDigests => desk.hands.hear_pages(frame),
                None => Err(LossReason::Damaged),
            };
            desk.tell_peer(link, heard.map_or_else(PeerEvent::Lost, |()| PeerEvent::Heard));
        }
        _ => {
            desk.tell_peer(link, wire::understand(frame).unwrap_or_else(PeerEvent::Lost));
            if let Some(through) = desk.controller.received() {
                desk.hands.followed.acknowledged(through);
            }
        }
    }
}
