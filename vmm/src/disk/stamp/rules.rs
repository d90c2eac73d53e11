//! What may be done to a copy, as its stamp says. Who may start a protected VM is decided in [`crate::identity`].

use std::path::Path;

use ftlog::{DiskLine, Generation, VmId};

use super::{Stamp, StampState};
use crate::arbiter::time;

/// The other side's disk, to which a copy is to be made equal.
#[derive(Clone, Copy, Debug)]
pub struct Theirs<'a> {
    /// The VM.
    pub vm: VmId,
    /// Its name.
    pub name: &'a str,
    /// The generation that the other side holds.
    pub generation: Generation,
    /// What it knows of the disk.
    pub line: DiskLine,
}

/// Whether a VM that nobody protects may be started from the copy `path`; gives what the operator should know.
///
/// # Errors
/// Why not.
pub fn may_boot(path: &Path, stamp: Option<&Stamp>) -> Result<Option<String>, String> {
    let Some(stamp) = stamp else { return Ok(None) };
    let path = path.display();
    if stamp.state == StampState::Half {
        let from = stamp.before.as_ref().and_then(|before| before.undo.as_ref());
        let remedy = match from {
            Some(_) => format!("`ftvmm disk restore {path}` brings back what it was before"),
            None => "what it was before is gone".to_owned(),
        };
        return Err(format!(
            "the disk {path} was being made equal to another copy and is a mixture; {remedy}"
        ));
    }
    Ok(Some(format!(
        "the disk {path} is {stamp}; from now on it counts as run alone, and as equal to no other copy"
    )))
}

/// Whether the copy `path` may be made equal to `theirs`; gives what is lost by it because the operator has said so.
///
/// # Errors
/// Why not.
pub fn may_be_overwritten(
    path: &Path,
    stamp: Option<&Stamp>,
    theirs: &Theirs<'_>,
    force: bool,
) -> Result<Option<String>, String> {
    let Some(lost) = stamp.and_then(|stamp| what_is_lost(stamp, theirs)) else { return Ok(None) };
    let path = path.display();
    if force {
        return Ok(Some(format!(
            "{path} is overwritten with generation {} of {} although {lost}",
            theirs.generation, theirs.name
        )));
    }
    Err(format!("{path} is not overwritten: {lost}; start the secondary with --force if that is wanted"))
}

fn what_is_lost(stamp: &Stamp, theirs: &Theirs<'_>) -> Option<String> {
    let Stamp { name, generation, index, by, at_ms, .. } = stamp;
    let at = time(*at_ms);
    if stamp.vm != theirs.vm {
        return Some(format!("it is a disk of another VM ({name}, {})", stamp.vm));
    }
    if theirs.line.id.is_some_and(|disk| disk != stamp.disk) {
        return Some(format!("it is another disk of {name} (number {index})"));
    }
    if *generation > theirs.generation {
        return Some(format!(
            "it is newer: what {name} did in generation {generation} (on {by}, {at}) is not on the primary's, which is of {}",
            theirs.generation
        ));
    }
    if theirs.line.lacks.is_some_and(|(first, last)| (first..=last).contains(generation)) {
        return Some(format!(
            "what {name} did in generation {generation} (on {by}, {at}) is not on the primary's, which was started from an older copy"
        ));
    }
    stamp.alone.then(|| format!("{name} was run from it alone (on {by}, {at}), which only it has"))
}
