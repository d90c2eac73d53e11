//! The commands that give a VM a secondary, and the wait until it is protected.

use std::{io::IsTerminal, thread, time::Duration};

use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    control::{Target, show, understand},
    seed::{describe_seed, describe_seeding},
};
use crate::control::{Request, State, Status, peer_address, request};

/// How often the primary is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// A new place for the secondary.
#[derive(Args)]
pub struct Destination {
    /// Where the secondary listens
    #[arg(long, value_name = "HOST:PORT", value_parser = peer_address)]
    to: String,
    /// Wait until the VM is protected, and show how far it is
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    target: Target,
}

impl Destination {
    /// Asks for protection by a secondary there.
    pub fn protect(self) -> anyhow::Result<u8> {
        self.perform(&Request::Protect { to: self.to.clone() })
    }

    /// Asks for the secondary to be moved there.
    pub fn migrate(self) -> anyhow::Result<u8> {
        self.perform(&Request::MigrateSecondary { to: self.to.clone() })
    }

    fn perform(&self, command: &Request) -> anyhow::Result<u8> {
        if !self.wait {
            return self.target.command(command);
        }
        request(&self.target.control, command)?;
        let status = self.await_protection()?;
        let text = match &status.seed {
            Some(seed) if self.target.json => serde_json::to_string(seed)? + "\n",
            Some(seed) => format!("protected by {}: {}\n", self.to, describe_seed(seed)),
            None => format!("protected by {}\n", self.to),
        };
        show(&text);
        Ok(0)
    }

    fn await_protection(&self) -> anyhow::Result<Status> {
        let bar = Bar::new()?;
        loop {
            let status = understand(request(&self.target.control, &Request::Status)?)?;
            let wanted = status.peer.as_ref() == Some(&self.to);
            match status.state {
                State::Protected if wanted => return Ok(status),
                State::Halted => bail!("the VM is not live here any more"),
                State::Unprotected if !wanted => bail!("the primary does not look for {} any more", self.to),
                _ => bar.show(&status),
            }
            thread::sleep(ASK_EVERY);
        }
    }
}

/// On a terminal; else nothing.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> anyhow::Result<Self> {
        if !std::io::stderr().is_terminal() {
            return Ok(Self(ProgressBar::hidden()));
        }
        let style = ProgressStyle::with_template("{bar:40} {msg}")?;
        Ok(Self(ProgressBar::new(1).with_style(style)))
    }

    fn show(&self, status: &Status) {
        let Some(seeding) = &status.seeding else {
            self.0.set_message(
                status.last_loss.clone().unwrap_or_else(|| "looking for the secondary".to_owned()),
            );
            return;
        };
        self.0.set_length(seeding.total_bytes);
        self.0.set_position(seeding.total_bytes.saturating_sub(seeding.left_bytes));
        self.0.set_message(describe_seeding(seeding));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
