//! What can go wrong with an arbiter.

use std::path::PathBuf;

use ftlog::Generation;
use thiserror::Error;

/// What can go wrong with an arbiter directory.
#[derive(Debug, Error)]
pub enum ArbiterError {
    /// The arbiter was not given as `file:DIR`.
    #[error("{spec:?} names no arbiter: expected file:DIR")]
    Spec {
        /// What was given.
        spec: String,
    },
    /// The directory cannot be used.
    #[error("arbiter directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The path leads to another directory than it did.
    #[error("arbiter directory {}: this is not the one that was opened at the start; is it still mounted?", path.display())]
    Replaced {
        /// The path.
        path: PathBuf,
    },
    /// A step of a claim failed.
    #[error("arbiter: cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file does not hold what its name says.
    #[error("arbiter: {} is damaged: {found} bytes", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its length, as far as it was read.
        found: usize,
    },
    /// What the arbiter knows does not lead to what is claimed.
    #[error("arbiter: generation {generation} of {name} cannot be claimed: {why}")]
    Unknown {
        /// The VM.
        name: String,
        /// What was claimed.
        generation: Generation,
        /// What is there instead of the generation before.
        why: String,
    },
}
