//! The secondary: the link thread receives and acknowledges the log, the vCPU thread (the process's main thread)
//! executes it, and a listener thread receives whoever connects.
//!
//! ```text
//!  listener ── Offer ──► vCPU thread ── starts ──► link thread ══ primary
//!                            ▲ tasks                  │ reports ▲
//!                            └────────────────────────┘─────────┘
//! ```

pub(in crate::link) mod copies;
mod effects;
mod hearing;
mod listener;
pub(in crate::link) mod replica;
mod session;
mod takeover;

use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use devices::Off;
use ftlog::Generation;
use machine::Machine;

pub use listener::Listener;

use self::{replica::SessionEnd, session::Session};
use super::primary::Site;
use crate::{
    control::{Role, State},
    identity::VmIdentity,
};

/// How often an idle secondary looks at the stop switch.
const GLANCE: Duration = Duration::from_millis(50);

/// Why a secondary stopped being one.
pub enum Served {
    /// It is the VM now.
    TookOver {
        /// The machine, between a sync point and the next stretch.
        machine: Box<Machine>,
        /// The VM.
        identity: VmIdentity,
        /// The generation it has won.
        generation: Generation,
        /// When it went live, ns of the host's monotonic clock.
        live_ns: u64,
    },
    /// The guest ended the machine.
    PoweredOff(Off),
    /// The stop switch was thrown.
    Stopped,
}

/// Waits for primaries and follows them, one at a time, until one is lost and this side takes over.
pub fn serve(site: &Site, listener: &Listener) -> anyhow::Result<Served> {
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
        let offer = loop {
            match listener.offers().recv_timeout(GLANCE) {
                Ok(offer) => break offer,
                Err(RecvTimeoutError::Timeout) if site.stop.is_thrown() => return Ok(Served::Stopped),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the listener thread has ended"),
            }
        };
        let peer = offer.connection.peer();
        site.board
            .notice(format!("{peer} ({}) is the primary; its state is on the way", offer.hello.software));
        let session = match Session::start(site, offer) {
            Ok(session) => session,
            Err(error) => {
                // Such as that there are no descriptors left. The primary finds the connection closed, and tries again.
                site.board.trouble("session", format!("{error:#}"));
                listener.set_busy(None);
                continue;
            }
        };
        site.board.well("session");
        match replica::run(site, session)? {
            SessionEnd::Served(served) => return Ok(served),
            SessionEnd::Discarded(reason) => {
                site.board.notice(format!("the VM is discarded here: {reason}"));
                site.board.update(|status| status.last_loss = Some(reason));
                listener.set_busy(None);
            }
        }
    }
}
