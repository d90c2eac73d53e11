//! What a lab is made of.

use std::path::PathBuf;

use super::artefacts;

/// What a lab is made of, beyond the hosts.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Files by the names they get in `/files`.
    pub files: Vec<(String, PathBuf)>,
    /// The image that `/dev/vda` of each host is a copy of.
    pub disk: Option<PathBuf>,
    /// Memory of each host, MiB.
    pub memory_mib: u32,
}

impl Plan {
    /// Hosts with the ftvmm program.
    ///
    /// # Errors
    /// When it is not built.
    pub fn new() -> anyhow::Result<Self> {
        let files = vec![("ftvmm".to_owned(), artefacts::program()?)];
        Ok(Self { files, disk: None, memory_mib: 2048 })
    }
}
