//! Who may start a VM: the rule, without any asking or waiting.
//!
//! Starting is a claim. The arbiter says who ran the VM last; the peer says whether it runs it, or holds it and is about
//! to; the stamps beside the disks say how new each copy is. Only where nothing that the VM has done could be lost, and
//! nobody could be running it, does a start need no word of the operator.
//!
//! ```text
//!  peer: "I run it" or "I hold it" ───────────────────────────► refuse, whatever the operator says
//!  the arbiter's holder runs on this host ────────────────────► refuse, whatever the operator says
//!  the holder is on another host, not ended, not known gone ──► refuse, unless --force
//!  a copy is older than the last generation, or half made ────► refuse, unless --force (or --new)
//!  the holder ended without a word, the peer is silent ───────► wait: the peer may be taking over
//!  otherwise ─────────────────────────────────────────────────► claim the next generation; if somebody may still run
//!                                                               it, wait until he has seen that, and halted
//! ```

use ftlog::{Generation, VmId};
use protocol::YIELD_NS;

use super::Presence;
use crate::arbiter::{Latest, Whereabouts};

/// All that is known before a start.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// The VM's name.
    pub name: &'a str,
    /// What the arbiter knows of it.
    pub latest: Option<&'a Latest>,
    /// What can be told from here of whom the arbiter names.
    pub holder: Option<Whereabouts>,
    /// What the peer says.
    pub peer: &'a Peer,
    /// The disks' copies on this side.
    pub copies: &'a [Copy],
    /// The peer has been given time to take over.
    pub waited: bool,
    /// The operator says to start whatever is lost by it.
    pub force: bool,
    /// The operator says that this is another VM than the one that the arbiter or the disks know.
    pub new: bool,
    /// Unix time, ms.
    pub now_ms: u64,
}

/// What the peer answered.
#[derive(Clone, Debug)]
pub enum Peer {
    /// Nothing.
    Silent,
    /// This.
    Says(Presence),
}

/// A disk's copy on this side and what its stamp says.
#[derive(Clone, Debug)]
pub struct Copy {
    /// Its file.
    pub path: String,
    /// Its stamp.
    pub state: CopyState,
}

/// What the stamp of a copy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyState {
    /// There is none.
    Unstamped,
    /// Both sides write the same file, which belongs to this VM.
    Shared {
        /// The VM.
        vm: VmId,
        /// The VM's name.
        name: String,
    },
    /// It belongs to a VM.
    Stamped {
        /// The VM.
        vm: VmId,
        /// The VM's name.
        name: String,
        /// The last generation that it is of.
        generation: Generation,
        /// It holds all that the VM has done in that generation.
        complete: bool,
    },
    /// It was being made equal to another copy, and is a mixture.
    Half {
        /// The VM.
        vm: VmId,
    },
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Claim a generation.
    Start(Permission),
    /// Ask the peer again, for a bounded time.
    Wait,
    /// Do not start.
    Refuse(String),
}

/// A claim to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The VM, if it is one that was there before.
    pub vm: Option<VmId>,
    /// The generation before the one to claim.
    pub previous: Generation,
    /// Who holds that.
    pub after: Option<String>,
    /// Whoever holds that may still run the VM, and gets the time to see that it is not his any more.
    pub yields: bool,
    /// What is lost or risked by this start because the operator said so.
    pub forced: Vec<String>,
}

/// Decides by what is known.
#[must_use]
pub fn decide(known: &Known<'_>) -> Decision {
    if let Some(reason) = lives_elsewhere(known) {
        return Decision::Refuse(reason);
    }
    let mut lost = Vec::from_iter(may_live_elsewhere(known));
    let yields = !lost.is_empty() || was_yielding(known);
    lost.extend(known.copies.iter().filter_map(|copy| what_a_copy_lacks(known, copy)));
    if !lost.is_empty() && !known.force {
        let remedy = if known.latest.is_none() && !may_be_new(known) {
            "; --new starts another VM with these disks, --force goes on with them as they are"
        } else {
            "; --force starts it here all the same"
        };
        return Decision::Refuse(format!("{} is not started: {}{remedy}", known.name, lost.join("; ")));
    }
    if may_be_taken_over(known) {
        return Decision::Wait;
    }
    Decision::Start(Permission {
        vm: known.latest.filter(|_| !known.new).map(|latest| latest.entry.vm),
        previous: known.latest.map_or(Generation(0), |latest| latest.entry.generation),
        after: known.latest.map(|latest| latest.entry.holder.to_string()),
        yields,
        forced: lost,
    })
}

/// Nothing that the operator says makes it right to run a VM a second time.
fn lives_elsewhere(known: &Known<'_>) -> Option<String> {
    let name = known.name;
    if let Peer::Says(Presence { host, runs, holds, since, .. }) = known.peer {
        let since = since.as_ref().map_or_else(String::new, |since| format!(" since {since}"));
        if *runs {
            return Some(format!("{name} lives on {host}{since}: that side runs it now"));
        }
        if *holds {
            return Some(format!("{name} is held by {host}, which follows it or is taking it over"));
        }
    }
    let latest = known.latest.filter(|latest| latest.ended.is_none())?;
    (known.holder == Some(Whereabouts::Running))
        .then(|| format!("{name} runs on this host already: {latest}"))
}

fn may_live_elsewhere(known: &Known<'_>) -> Option<String> {
    let latest = known.latest.filter(|latest| latest.ended.is_none())?;
    let gone = known.holder == Some(Whereabouts::Gone)
        || matches!(known.peer, Peer::Says(Presence { holder_gone: true, .. }));
    let host = &latest.entry.holder.host;
    (!gone).then(|| format!("it lives, or lived last, on {host} ({latest}), which may still run it"))
}

/// The last start was given up while it gave somebody time to halt: he has not had that time yet.
fn was_yielding(known: &Known<'_>) -> bool {
    known.latest.is_some_and(|Latest { entry, .. }| {
        entry.yields && known.now_ms < entry.since_ms.saturating_add(YIELD_NS / 1_000_000)
    })
}

fn may_be_new(known: &Known<'_>) -> bool {
    known.copies.iter().all(|copy| copy.state == CopyState::Unstamped)
}

fn what_a_copy_lacks(known: &Known<'_>, copy: &Copy) -> Option<String> {
    if known.new {
        return None;
    }
    let path = &copy.path;
    let Some(latest) = known.latest else {
        return match &copy.state {
            CopyState::Unstamped => None,
            CopyState::Shared { name, .. } => {
                Some(format!("{path} belongs to the VM {name}, which this arbiter does not know"))
            }
            CopyState::Stamped { name, generation, .. } => Some(format!(
                "{path} belongs to the VM {name} (generation {generation}), which this arbiter does not know"
            )),
            CopyState::Half { .. } => Some(half(path)),
        };
    };
    let host = &latest.entry.holder.host;
    let last = latest.entry.generation;
    match &copy.state {
        CopyState::Unstamped => Some(format!(
            "{path} has no stamp, so it cannot be told whether it is what the VM wrote last (on {host}, generation {last})"
        )),
        CopyState::Shared { vm, name } | CopyState::Stamped { vm, name, .. } if *vm != latest.entry.vm => {
            Some(format!("{path} belongs to another VM ({name}, {vm})"))
        }
        CopyState::Shared { .. } => None,
        CopyState::Stamped { generation, .. } if *generation < last => Some(format!(
            "{path} is of generation {generation}; what the VM did after that, on {host} in generation {last}, would be lost"
        )),
        CopyState::Stamped { generation, .. } if *generation > last => Some(format!(
            "{path} is of generation {generation}, this arbiter knows of {last} only: it is another one, or an old copy"
        )),
        CopyState::Stamped { complete: false, .. } => Some(format!(
            "{path} followed generation {last}; what {host} acknowledged last may be missing from it"
        )),
        CopyState::Stamped { .. } => None,
        CopyState::Half { .. } => Some(half(path)),
    }
}

fn half(path: &str) -> String {
    format!("{path} was being made equal to another copy and is a mixture (ftvmm disk show {path})")
}

/// A peer that does not answer may hold the VM's memory and be about to win the next generation; it should.
fn may_be_taken_over(known: &Known<'_>) -> bool {
    let unended = known.latest.is_some_and(|latest| latest.ended.is_none());
    unended && !known.waited && !known.force && matches!(known.peer, Peer::Silent)
}

#[cfg(test)]
mod tests;
