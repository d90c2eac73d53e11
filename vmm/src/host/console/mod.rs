//! Where the guest's serial console goes: the terminal, a file, or a Unix socket.
//!
//! ```text
//!  guest ── write ──► spool ══► a thread ──► terminal, file or clients      never waited for
//!  guest ◄── inbox ◄════════════ a thread ◄── what is typed                  waits for the guest
//! ```

mod escape;
mod file;
mod input;
mod output;
mod spool;
mod target;
mod terminal;
mod unix;

use std::{fs::File, io, os::fd::AsFd, sync::Arc, thread, time::Duration};

use anyhow::Context;

pub use escape::{Escape, Typed};
pub use target::ConsoleTarget;
pub use terminal::{RawTerminal, restore as restore_terminal};

use self::spool::Spool;
use super::socket::OwnSocket;
use crate::{control::Board, ingress::Inbox};

/// How long an orderly end waits for a reader that takes nothing.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// The writing end. A thread does the writing, so that nothing about its target can stop the VM.
#[derive(Clone)]
pub struct Console {
    spool: Arc<Spool>,
    socket: Option<Arc<OwnSocket>>,
}

impl Console {
    /// Opens `target`. Input goes to `inbox`, troubles to `board`.
    pub fn open(target: &ConsoleTarget, inbox: Arc<Inbox>, board: &Board) -> anyhow::Result<Self> {
        Self::start(target, inbox, board).with_context(|| format!("cannot open the console {target}"))
    }

    fn start(target: &ConsoleTarget, inbox: Arc<Inbox>, board: &Board) -> anyhow::Result<Self> {
        let spool = Arc::new(Spool::new(board.clone())?);
        let mut socket = None;
        match target {
            ConsoleTarget::Stdio => {
                input::start(inbox)?;
                write_on_a_thread(
                    spool.clone(),
                    File::from(io::stdout().as_fd().try_clone_to_owned()?),
                    board,
                )?;
            }
            ConsoleTarget::File(path) => write_on_a_thread(spool.clone(), file::open(path)?, board)?,
            ConsoleTarget::Unix(path) => {
                let (listener, own) = OwnSocket::listen(path)?;
                unix::start(listener, spool.clone(), inbox, board.clone())?;
                socket = Some(Arc::new(own));
            }
        }
        let target = target.absolute().to_string();
        board.update(|status| status.console.target = target);
        Ok(Self { spool, socket })
    }

    /// Hands a piece of output over; dropped, and counted, when the target is too far behind.
    pub fn write(&self, bytes: &[u8]) {
        self.spool.put(bytes);
    }

    /// Waits until all that was written has reached its target, but not for a reader that takes nothing; then removes
    /// the socket, if it is one.
    pub fn close(&self) {
        self.spool.flush(FLUSH_PATIENCE);
        if let Some(socket) = &self.socket {
            socket.remove();
        }
    }
}

fn write_on_a_thread(spool: Arc<Spool>, target: File, board: &Board) -> io::Result<()> {
    let board = board.clone();
    thread::Builder::new().name("console".into()).spawn(move || output::drain(&spool, target, &board))?;
    Ok(())
}

#[cfg(test)]
mod tests;
