//! `ftvmm disk`: what is known of a copy of a disk, and bringing back what it was.

use std::{fs::File, io::Write, path::PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use ftlog::DiskMode;
use serde_json::json;

use super::exit::Refused;
use crate::disk::{
    Backing, Blocks, DiskOption, Use, restore,
    stamp::{Place, Stamp, StampState},
};

/// Show what is known of a copy of a disk, or bring back what it was before it was half overwritten
///
/// Beside an image that a protected VM has written there is a stamp, IMAGE.ftvmm: which disk of which VM it is, and of
/// which generation. (That of a block device is in /var/lib/ftvmm, or systemd's STATE_DIRECTORY.) A secondary's copy is
/// a mixture while it is made equal to the primary's; should the primary be lost then, `restore` brings back the copy
/// from before. Examples:
///
///   ftvmm disk show /srv/vm/ledger.img
///   ftvmm disk restore /srv/vm/ledger.img
#[derive(Args)]
pub struct Disk {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Say of which VM and generation a copy is, and whether a VM can start from it
    Show(At),
    /// Write back what a half made copy held before, from the journal beside it
    ///
    /// It can be broken off and started again. Afterwards the copy has the stamp that it had before.
    Restore(At),
}

#[derive(Args)]
struct At {
    /// The image or block device
    path: PathBuf,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

impl Disk {
    /// Does it.
    pub fn execute(self) -> anyhow::Result<u8> {
        match self.action {
            Action::Show(at) => at.show(),
            Action::Restore(at) => at.restore(),
        }
    }
}

impl At {
    fn show(&self) -> anyhow::Result<u8> {
        let path = self.path.display();
        let file = File::open(&self.path).with_context(|| format!("cannot open {path}"))?;
        let place = Place::of(&file)?;
        let stamp = place.read()?;
        let text = if self.json {
            format!("{}\n", json!({ "path": self.path, "file": place.stamp_path(), "stamp": stamp }))
        } else {
            match &stamp {
                Some(stamp) => format!("{path}: {stamp}\n{}", describe_before(stamp)),
                None => format!("{path}: no stamp: no protected VM has used it\n"),
            }
        };
        say(&text);
        Ok(0)
    }

    fn restore(&self) -> anyhow::Result<u8> {
        // As a VM that has it alone, so that nobody uses it meanwhile; a half made one is what is wanted here.
        let option = DiskOption { path: self.path.clone(), mode: DiskMode::Replicated, readonly: false };
        let backing = Backing::open(&option, Use::Alone)?;
        let (place, bytes) = (Place::of(&backing.file)?, backing.bytes());
        let half = place.read()?.is_some_and(|stamp| stamp.state == StampState::Half);
        if !half {
            let reason = format!("{} is not half made; there is nothing to bring back", self.path.display());
            return Err(Refused(reason).into());
        }
        let (stamp, blocks) = restore(&place, &Blocks::new(backing.file.try_clone()?, bytes))?;
        let text = if self.json {
            format!("{}\n", json!({ "path": self.path, "blocks": blocks, "stamp": stamp }))
        } else {
            let what = stamp.map_or_else(|| "it has no stamp".to_owned(), |stamp| stamp.to_string());
            format!("{}: {blocks} blocks of 64 KiB are what they were; {what}\n", self.path.display())
        };
        say(&text);
        Ok(0)
    }
}

fn describe_before(stamp: &Stamp) -> String {
    let Some(before) = &stamp.before else { return String::new() };
    let was = before.stamp.as_ref().map_or_else(|| "it had no stamp".to_owned(), ToString::to_string);
    let remedy = match &before.undo {
        Some(_) => "`ftvmm disk restore` brings it back",
        None => "it cannot be brought back",
    };
    format!("  before that: {was}; {remedy}\n")
}

fn say(text: &str) {
    // A reader that has gone away (`show | head`) is no error.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
