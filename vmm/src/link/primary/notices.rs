//! What the controller has people told, in words.

use protocol::primary::controller::Notice;

use super::hands::{Hands, SECONDARY};
use crate::{control::Board, host::clock::boot_ns};

/// How a protected VM's arbiter is called in `status` when it cannot be seen.
const ARBITER: &str = "arbiter";

impl Hands {
    pub(super) fn tell(&mut self, notice: Notice) {
        let board = &self.site.board;
        match notice {
            Notice::Claimed { generation, outcome } => {
                board.notice_once(format!("arbiter, generation {generation}: {outcome}"));
            }
            Notice::Yields { generation } => {
                let seconds = protocol::YIELD_NS / 1_000_000_000;
                board.notice(format!(
                    "generation {generation} is this side's; the guest starts in {seconds} s, when a side that still \
                     runs the VM and sees the arbiter has halted"
                ));
            }
            Notice::ArbiterUnclear(why) => board.trouble(ARBITER, why),
            Notice::ArbiterSeen => board.well(ARBITER),
            Notice::Paired { attempt } => {
                if let Some((connection, welcome)) = self.reached.get(&attempt) {
                    let (peer, software) = (connection.peer(), &welcome.software);
                    board.notice(format!("{peer} ({software}) becomes the secondary"));
                }
            }
            Notice::Protected => {
                self.protected = true;
                self.site.put_aside();
                let unprotected_ns = self.unprotected_since_ns.take().map(|since_ns| boot_ns() - since_ns);
                let unprotected_ms = unprotected_ns.map(|ns| ns as f64 / 1e6);
                let seed = self.figures.seed.take().and_then(|seed| seed.held(unprotected_ms));
                board.update(|status| {
                    status.last_loss = None;
                    status.seed = seed;
                });
                let after = unprotected_ms
                    .map_or_else(String::new, |ms| format!(", after {:.3} s without", ms / 1e3));
                board.notice(format!("protected: the secondary holds the VM's state and follows{after}"));
            }
            Notice::LetGo => board.notice("the secondary was let go"),
            Notice::Lost(reason) => note_loss(board, reason),
            Notice::Distrusted { peer, times } => note_loss(
                board,
                format!(
                    "no secondary is looked for any more, as it has diverged {times} times within minutes; `resume` looks for \
                     {peer} again, `protect` for another"
                ),
            ),
            Notice::PeerHealth(health) if health.is_well() => board.well(SECONDARY),
            Notice::PeerHealth(health) => {
                board.trouble(SECONDARY, format!("not as well as it should be: {health}"))
            }
        }
    }
}

/// An attempt that fails again and again for one reason is told once.
fn note_loss(board: &Board, reason: String) {
    if board.snapshot().last_loss.as_ref() != Some(&reason) {
        board.notice(reason.clone());
        board.update(|status| status.last_loss = Some(reason));
    }
}
