//! What is compared.

use serde::Serialize;

use crate::{migration::Qemu, monitor::Monitor, place::Place, seeding::Ftvmm};

/// Which monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An unprotected primary that is given a secondary.
    Ftvmm,
    /// A live migration.
    Qemu,
}

impl Kind {
    /// In the order in which they are measured.
    pub const ALL: [Self; 2] = [Self::Ftvmm, Self::Qemu];

    /// As the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ftvmm => "ftvmm",
            Self::Qemu => "QEMU",
        }
    }

    /// Starts one with a guest on `disk`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start<'a>(
        self,
        place: &'a Place,
        name: &str,
        disk: &str,
    ) -> anyhow::Result<Box<dyn Monitor + 'a>> {
        Ok(match self {
            Self::Ftvmm => Box::new(Ftvmm::start(place, name, disk)?),
            Self::Qemu => Box::new(Qemu::start(place, disk)?),
        })
    }
}
