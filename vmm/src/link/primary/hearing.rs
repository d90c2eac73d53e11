//! What the secondary says.

use ftlog::{Frame, FrameKind};
use protocol::{
    LossReason,
    primary::{Event, Link, PeerEvent},
};

use super::{resync::Resync, streaming, thread::LinkThread};

impl LinkThread {
    pub(super) fn tell_peer_event(&mut self, link: Link, event: PeerEvent) {
        self.tell(Event::Peer { link, event });
    }

    pub(super) fn hear_peer(&mut self) {
        while let Some(stream) = &mut self.stream {
            let link = stream.link;
            if self.resync.as_ref().is_some_and(Resync::is_full) {
                return self.tell_peer_event(link, PeerEvent::Heard);
            }
            match stream.connection.receive() {
                Ok(Some(frame)) => self.hear(link, &frame),
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%error, "connection to the secondary");
                    return self.tell_peer_event(link, PeerEvent::Lost(error.into()));
                }
            }
        }
    }

    fn hear(&mut self, link: Link, frame: &Frame) {
        match frame.kind {
            FrameKind::Diverged => self.explain_divergence(frame),
            FrameKind::Refuse => {
                self.site.board.notice(format!("the secondary gives up: {}", streaming::refusal(frame)));
                self.tell_peer_event(link, PeerEvent::Lost(LossReason::Closed));
            }
            FrameKind::DiskBases | FrameKind::DiskDigests => {
                let heard =
                    self.resync.as_ref().map_or(Err(LossReason::Damaged), |resync| resync.hear(frame));
                self.tell_peer_event(link, heard.map_or_else(PeerEvent::Lost, |()| PeerEvent::Heard));
            }
            _ => {
                let event = streaming::understand(frame).unwrap_or_else(PeerEvent::Lost);
                self.tell_peer_event(link, event);
            }
        }
    }

    fn explain_divergence(&mut self, frame: &Frame) {
        let Some(stream) = &mut self.stream else { return };
        match streaming::answer_divergence(stream, frame, &self.registers) {
            Ok(text) => self.site.board.notice(text),
            Err(error) => self.site.board.notice(format!("{error:#}")),
        }
    }
}
