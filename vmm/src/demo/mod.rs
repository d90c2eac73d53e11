//! The whole story on one machine: a pair, a load, two kills, and a verdict.
//!
//! Its parts serve the integration tests as well: [`net`] makes the network, [`pair`] the processes, [`client`] the
//! load.

use std::{fs, io::ErrorKind, os::unix::fs::DirBuilderExt, path::PathBuf};

use anyhow::{Context, bail};

pub mod client;
mod narrate;
pub mod net;
pub mod pair;
pub mod process;
pub mod random;
mod story;
pub mod verdict;
pub mod wait;

pub use narrate::Narrator;
pub use story::Plan;

use story::Story;
use verdict::Verdict;

/// Tells the story on a network of its own; the calling thread stays in that network.
///
/// # Errors
/// What the machine lacks, or where the story broke off, with the place of the logs.
pub fn tell(plan: Plan, narrator: &Narrator) -> anyhow::Result<Verdict> {
    let missing = net::missing();
    if !missing.is_empty() {
        bail!("this demo lacks:\n  - {}", missing.join("\n  - "));
    }
    let directory = make_directory()?;
    let told = Story::begin(plan, narrator, &directory).and_then(Story::tell);
    match &told {
        Ok(verdict) if verdict.passed() => {
            let _ = fs::remove_dir_all(&directory);
        }
        _ => narrator.detail(&format!("logs and consoles are in {}", directory.display())),
    }
    told
}

/// A fresh directory that only its owner can look into.
fn make_directory() -> anyhow::Result<PathBuf> {
    let parent = std::env::temp_dir();
    for attempt in 0..100 {
        let path = parent.join(format!("ftvmm-demo-{}-{attempt}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot create {}", path.display())),
        }
    }
    bail!("no free name for a directory in {}", parent.display())
}
