//! `ftvmm arbiter`: what an arbiter knows, and clearing it away.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exit::Refused;
use crate::{
    arbiter::{ArbiterError, FileArbiter, Holder, Latest, Whereabouts, time},
    identity::VmName,
};

/// Show which VMs an arbiter knows and who holds them, or have it forget one
///
/// A VM's generation counts how often it was started, taken over or went on alone. The arbiter keeps the records of the
/// last few of each VM. Examples:
///
///   ftvmm arbiter list --arbiter file:/srv/ftvmm
///   ftvmm arbiter forget old-ledger --arbiter file:/srv/ftvmm
#[derive(Args)]
pub struct Arbiter {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the VMs with their generation, who holds it since when, and whether they have ended
    List(Where),
    /// Remove all records of a VM that is not to start again
    ///
    /// Refused unless the VM has ended in order: a side that still has it would get no answer from the arbiter when it
    /// loses its peer, and stand still. --force does it all the same.
    Forget(Forget),
}

#[derive(Args)]
struct Where {
    /// The arbiter: file:DIR
    #[arg(long, value_name = "file:DIR")]
    arbiter: String,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Forget {
    /// The VM
    name: VmName,
    #[command(flatten)]
    at: Where,
    /// Forget it although it may still run
    #[arg(long)]
    force: bool,
}

impl Arbiter {
    /// Does it.
    pub fn execute(self) -> anyhow::Result<u8> {
        match self.action {
            Action::List(at) => at.list(),
            Action::Forget(forget) => forget.execute(),
        }
    }
}

impl Where {
    fn list(&self) -> anyhow::Result<u8> {
        let (arbiter, here) = (FileArbiter::open(&self.arbiter)?, Holder::this_process()?);
        let vms = arbiter.list()?;
        let text = if self.json {
            let rows: Vec<Value> = vms.iter().map(|(name, latest)| as_json(name, latest, &here)).collect();
            format!("{}\n", json!({ "arbiter": arbiter.identity(), "vms": rows }))
        } else if vms.is_empty() {
            "no VMs\n".to_owned()
        } else {
            vms.iter().map(|(name, latest)| as_text(name, latest, &here)).collect()
        };
        // A reader that has gone away (`list | head`) is no error.
        let _ = std::io::stdout().write_all(text.as_bytes());
        Ok(0)
    }
}

impl Forget {
    fn execute(&self) -> anyhow::Result<u8> {
        let arbiter = FileArbiter::open(&self.at.arbiter)?;
        let name = self.name.as_str();
        let latest = match arbiter.latest(name) {
            Ok(Some(latest)) => Some(latest),
            Ok(None) => return Err(Refused(format!("the arbiter knows nothing of {name}")).into()),
            // What is damaged can be cleared away, with force.
            Err(ArbiterError::Damaged { .. }) if self.force => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(latest) = latest.filter(|latest| latest.ended.is_none() && !self.force) {
            let reason = format!("{name} has not ended in order: {latest}; --force forgets it all the same");
            return Err(Refused(reason).into());
        }
        arbiter.forget(name)?;
        let text = if self.at.json {
            format!("{}\n", json!({ "forgotten": name }))
        } else {
            format!("{name} is forgotten\n")
        };
        let _ = std::io::stdout().write_all(text.as_bytes());
        Ok(0)
    }
}

/// What can be told from here.
fn state(latest: &Latest, here: &Holder) -> &'static str {
    match latest.entry.holder.whereabouts(here) {
        _ if latest.ended.is_some() => "ended",
        Whereabouts::Running => "runs here",
        Whereabouts::Gone => "gone",
        Whereabouts::Elsewhere => "elsewhere",
    }
}

fn as_text(name: &str, latest: &Result<Latest, ArbiterError>, here: &Holder) -> String {
    match latest {
        Ok(latest) => format!("{name:<24} {:<10} {latest}\n", state(latest, here)),
        Err(error) => format!("{name:<24} {:<10} {error}\n", "damaged"),
    }
}

fn as_json(name: &str, latest: &Result<Latest, ArbiterError>, here: &Holder) -> Value {
    match latest {
        Ok(latest) => json!({
            "name": name,
            "vm": latest.entry.vm.to_string(),
            "generation": latest.entry.generation.0,
            "state": state(latest, here),
            "host": latest.entry.holder.host,
            "pid": latest.entry.holder.pid,
            "since": time(latest.entry.since_ms),
            "ended": latest.ended.as_ref().map(|ended| json!({ "at": time(ended.at_ms), "how": ended.how })),
        }),
        Err(error) => json!({ "name": name, "error": error.to_string() }),
    }
}
