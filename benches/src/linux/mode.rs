//! What is compared.

use serde::Serialize;

/// How the guest is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// `ftvmm run`: what all else is compared with.
    Run,
    /// The same while another such machine does the same on the other side: what two machines cost each other that share
    /// a host, as those of a pair do in a lab.
    Beside,
    /// `ftvmm record`, to a file.
    Record,
    /// `ftvmm primary` with `ftvmm secondary`.
    Protected,
}

impl Mode {
    /// In the order in which they are measured.
    pub const ALL: [Self; 4] = [Self::Run, Self::Beside, Self::Record, Self::Protected];

    /// As the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Beside => "run, two",
            Self::Record => "record",
            Self::Protected => "protected",
        }
    }
}
