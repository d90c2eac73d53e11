//! The secondary: the link thread receives and acknowledges the log, the vCPU thread (the process's main thread)
//! executes it, and a listener thread receives whoever connects.
//!
//! ```text
//!  listener ── Offer ──► vCPU thread ── starts ──► link thread ══ primary
//!                            ▲ tasks                  │ reports ▲
//!                            └────────────────────────┘─────────┘
//! ```

mod arrival;
mod attic;
pub(in crate::link) mod copies;
mod gauge;
mod hands;
mod holdings;
mod listener;
pub(in crate::link) mod messages;
mod peer;
mod place;
mod replica;
mod report;
mod session;
mod takeover;
mod terms;
mod thread;
mod turn;

use crossbeam_channel::RecvTimeoutError;
use machine::VcpuThread;

use self::{
    attic::Attic,
    listener::Offer,
    messages::{GLANCE, SessionEnd},
    session::Session,
};
pub use self::{listener::Listener, messages::Served};
use super::{Site, handshake::refuse};
use crate::control::{Role, State};

/// Waits for primaries and follows them, one at a time, until one is lost and this side takes over.
pub fn serve(site: &Site, listener: &Listener) -> anyhow::Result<Served> {
    let (vcpu, attic) = (VcpuThread::current()?, Attic::default());
    loop {
        site.board.update(|status| {
            *status = crate::control::Status {
                role: Role::Secondary,
                state: State::Listening,
                events: std::mem::take(&mut status.events),
                last_loss: status.last_loss.take(),
                console: std::mem::take(&mut status.console),
                troubles: std::mem::take(&mut status.troubles),
                ..Default::default()
            };
        });
        let Some(offer) = await_offer(site, listener)? else { return Ok(Served::Stopped) };
        let Offer { connection, hello } = offer;
        let peer = connection.peer();
        site.board.notice(format!("{peer} ({}) is the primary; its state is on the way", hello.software));
        let session = match Session::prepare(site, hello, vcpu, attic.clone()) {
            Ok((session, begin)) => {
                begin(connection);
                session
            }
            Err(error) => {
                // Such as that there are no descriptors left. The primary is told, and tries again.
                let reason = format!("{error:#}");
                refuse(connection, &reason);
                site.board.trouble("session", reason);
                listener.let_in_the_next();
                continue;
            }
        };
        site.board.well("session");
        match replica::run(site, session)? {
            SessionEnd::Served(served) => return Ok(served),
            SessionEnd::Discarded(reason) => {
                site.board.notice(format!("the VM is discarded here: {reason}"));
                site.board.update(|status| status.last_loss = Some(reason));
                listener.let_in_the_next();
            }
        }
    }
}

/// The next primary; none when the stop switch is thrown first.
fn await_offer(site: &Site, listener: &Listener) -> anyhow::Result<Option<Offer>> {
    loop {
        match listener.offers().recv_timeout(GLANCE) {
            Ok(offer) => return Ok(Some(offer)),
            Err(RecvTimeoutError::Timeout) if site.stop.is_thrown() => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the listener thread has ended"),
        }
    }
}
