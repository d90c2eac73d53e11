//! An arbiter made of files in a directory that both hosts share.
//!
//! The holder of generation N of the VM NAME is in `NAME.N`, which appears whole, by one `link(2)` of a file that was
//! written and synced before, and is never changed: the test-and-set is the file system's refusal to link over an
//! existing name. That holds on NFS too, where the reply to a `link` can be lost: the link count of the temporary
//! file then tells whether it happened.
//!
//! Generation N comes only after N-1, and only for one who knows the holder of N-1: records of another arbiter, or of
//! an old copy of this one, answer nothing. So the oldest records can go, from the lowest on: one who slept through
//! many generations finds that those it knew are gone and later ones are there.

use std::path::PathBuf;

use ftlog::{Generation, VmId};
use protocol::{
    arbiter::ClaimOutcome,
    sabotage::{self, Check},
};

use super::{
    ArbiterError, Ended, Entry, Holder, Latest,
    directory::{Directory, Place},
    entry::{claim_name, ended_name, parse_claim_name},
};
use crate::host::clock::wall_ns;

/// Generations of a VM whose records are kept.
const KEPT: u64 = 8;

/// What is claimed.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The VM's name.
    pub name: &'a str,
    /// The VM.
    pub vm: VmId,
    /// The generation.
    pub generation: Generation,
    /// Who holds the generation before, as it named itself; none for a VM that the arbiter does not know.
    pub after: Option<&'a str>,
    /// Who claims.
    pub holder: &'a Holder,
    /// See [`Entry::yields`].
    pub yields: bool,
}

/// The directory.
#[derive(Debug)]
pub struct FileArbiter {
    directory: Directory,
}

impl FileArbiter {
    /// Opens `file:DIR`; the directory must exist, on a file system that both hosts see.
    ///
    /// # Errors
    /// [`ArbiterError::Spec`] or [`ArbiterError::Directory`], and those of making an empty directory an arbiter's.
    pub fn open(spec: &str) -> Result<Self, ArbiterError> {
        let path = spec.strip_prefix("file:").filter(|path| !path.is_empty());
        let path = PathBuf::from(path.ok_or_else(|| ArbiterError::Spec { spec: spec.to_owned() })?);
        Ok(Self { directory: Directory::open(&path)? })
    }

    /// What tells this arbiter from others, wherever it is mounted.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.directory.identity()
    }

    /// Claims a generation. Blocks for as long as the file system does.
    ///
    /// May be repeated: a holder that has the generation wins it again, unless a later one has been claimed since.
    #[must_use]
    pub fn claim(&self, claim: &Claim<'_>) -> ClaimOutcome {
        match self.try_claim(claim) {
            Ok(_) if sabotage::disabled(Check::Arbiter) => ClaimOutcome::Won,
            Ok(outcome) => outcome,
            Err(error) => ClaimOutcome::Unavailable { reason: error.to_string() },
        }
    }

    /// The newest generation of a VM, if the arbiter knows it.
    ///
    /// # Errors
    /// That the directory cannot be read, is another one, or holds damaged records.
    pub fn latest(&self, name: &str) -> Result<Option<Latest>, ArbiterError> {
        let place = self.directory.look()?;
        newest(&place, name)?.map(|generation| read_latest(&place, name, generation)).transpose()
    }

    /// Notes that the VM ended in order in a generation that the caller holds.
    ///
    /// # Errors
    /// The host's. The VM then counts as running where it was.
    pub fn end(&self, name: &str, generation: Generation, ended: &Ended) -> Result<(), ArbiterError> {
        let text = serde_json::to_string(ended).expect("plain fields");
        self.directory.look()?.create(&ended_name(name, generation), &format!("{text}\n"))
    }

    /// All VMs with their newest generations, by name. One whose record is damaged comes with what is wrong.
    ///
    /// # Errors
    /// That the directory cannot be read or is another one.
    #[allow(clippy::type_complexity)]
    pub fn list(&self) -> Result<Vec<(String, Result<Latest, ArbiterError>)>, ArbiterError> {
        let place = self.directory.look()?;
        let mut newest = std::collections::BTreeMap::new();
        for file in place.names()? {
            if let Some((name, generation)) = parse_claim_name(&file) {
                let known = newest.entry(name.to_owned()).or_insert(generation);
                *known = generation.max(*known);
            }
        }
        let read = |(name, generation): (String, Generation)| {
            let latest = read_latest(&place, &name, generation);
            (name, latest)
        };
        Ok(newest.into_iter().map(read).collect())
    }

    /// Forgets a VM: all its records go, from the lowest on. Whoever still claims a generation of it gets no answer.
    ///
    /// # Errors
    /// The host's; what is left then is still in order.
    pub fn forget(&self, name: &str) -> Result<(), ArbiterError> {
        let place = self.directory.look()?;
        for generation in generations(&place, name)? {
            remove(&place, name, generation)?;
        }
        place.sync()
    }

    fn try_claim(&self, claim: &Claim<'_>) -> Result<ClaimOutcome, ArbiterError> {
        let Claim { name, generation, .. } = *claim;
        let place = self.directory.look()?;
        if let Some(holder) = later_than(&place, name, generation)? {
            return Ok(ClaimOutcome::Lost { holder });
        }
        let file = claim_name(name, generation);
        if place.read(&file)?.is_none() {
            follows(&place, claim)?;
            place.create(&file, &text_of(claim))?;
        } else {
            // Before anybody acts on the answer it must survive a power failure, whoever entered it.
            place.sync()?;
        }
        let owner = read_entry(&place, name, generation)?.holder.to_string();
        if owner == claim.holder.to_string() {
            return settle(&place, claim);
        }
        Ok(ClaimOutcome::Lost { holder: owner })
    }
}

/// The claim is entered. Should this side have slept between looking and entering for as long as it takes others to
/// clear records away, then what it entered comes after nothing, does not count, and goes.
fn settle(place: &Place, claim: &Claim<'_>) -> Result<ClaimOutcome, ArbiterError> {
    let Claim { name, generation, .. } = *claim;
    if let Some(holder) = later_than(place, name, generation)? {
        let before = claim_name(name, Generation(generation.0.saturating_sub(1)));
        if place.read(&before)?.is_none() {
            remove(place, name, generation)?;
        }
        return Ok(ClaimOutcome::Lost { holder });
    }
    clear(place, name, generation);
    Ok(ClaimOutcome::Won)
}

/// The holder of the newest generation, if that is later than `generation`.
fn later_than(place: &Place, name: &str, generation: Generation) -> Result<Option<String>, ArbiterError> {
    match newest(place, name)? {
        Some(newest) if newest > generation => Ok(Some(read_entry(place, name, newest)?.holder.to_string())),
        _ => Ok(None),
    }
}

/// Makes sure that the generation before the claimed one is there and is whose the claimant thinks.
fn follows(place: &Place, claim: &Claim<'_>) -> Result<(), ArbiterError> {
    let Claim { name, generation, after, .. } = *claim;
    let unknown = |why: String| Err(ArbiterError::Unknown { name: name.to_owned(), generation, why });
    let before = Generation(generation.0.saturating_sub(1));
    let Some(after) = after else {
        return match newest(place, name)? {
            None => Ok(()),
            Some(newest) => unknown(format!("there is a generation {newest}")),
        };
    };
    if place.read(&claim_name(name, before))?.is_none() {
        return unknown(format!("there is no generation {before}"));
    }
    let holder = read_entry(place, name, before)?.holder.to_string();
    if holder == after {
        Ok(())
    } else {
        unknown(format!("generation {before} is held by {holder}, not by {after}"))
    }
}

fn text_of(claim: &Claim<'_>) -> String {
    let entry = Entry {
        vm: claim.vm,
        generation: claim.generation,
        holder: claim.holder.clone(),
        since_ms: wall_ns() / 1_000_000,
        yields: claim.yields,
    };
    format!("{}\n", serde_json::to_string(&entry).expect("plain fields"))
}

/// All generations of a VM that are there, the lowest first.
fn generations(place: &Place, name: &str) -> Result<Vec<Generation>, ArbiterError> {
    let names = place.names()?;
    let mut generations: Vec<Generation> = names
        .iter()
        .filter_map(|file| parse_claim_name(file))
        .filter_map(|(found, generation)| (found == name).then_some(generation))
        .collect();
    generations.sort_unstable();
    Ok(generations)
}

fn newest(place: &Place, name: &str) -> Result<Option<Generation>, ArbiterError> {
    Ok(generations(place, name)?.last().copied())
}

fn read_entry(place: &Place, name: &str, generation: Generation) -> Result<Entry, ArbiterError> {
    let file = claim_name(name, generation);
    let text = place.read(&file)?.unwrap_or_default();
    match serde_json::from_str::<Entry>(&text) {
        Ok(entry) if entry.generation == generation => Ok(entry),
        _ => Err(ArbiterError::Damaged { path: place.path_of(&file), found: text.len() }),
    }
}

fn read_latest(place: &Place, name: &str, generation: Generation) -> Result<Latest, ArbiterError> {
    let entry = read_entry(place, name, generation)?;
    let file = ended_name(name, generation);
    let ended = place.read(&file)?.map(|text| {
        serde_json::from_str(&text)
            .map_err(|_| ArbiterError::Damaged { path: place.path_of(&file), found: text.len() })
    });
    Ok(Latest { entry, ended: ended.transpose()? })
}

/// Removes the records of generations that nobody needs any more, from the lowest on.
fn clear(place: &Place, name: &str, newest: Generation) {
    let old = |generation: &Generation| generation.0 + KEPT <= newest.0;
    let cleared = generations(place, name)
        .and_then(|all| all.into_iter().filter(old).try_for_each(|one| remove(place, name, one)));
    if let Err(error) = cleared {
        tracing::debug!(%error, "old records of the arbiter stay");
    }
    place.sweep();
}

fn remove(place: &Place, name: &str, generation: Generation) -> Result<(), ArbiterError> {
    place.remove(&claim_name(name, generation))?;
    place.remove(&ended_name(name, generation))
}

#[cfg(test)]
mod tests;
