//! Programs that compute and enter the kernel for nothing.

use serde::Serialize;

/// What runs in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// Nothing.
    Nothing,
    /// A loop of an interpreter.
    Python,
    /// SHA-256 of the same bytes again and again.
    Openssl,
    /// A loop of a few instructions.
    C,
    /// A loop of another interpreter.
    Awk,
    /// All of them at once.
    All,
}

impl Load {
    /// In the order in which they are measured.
    pub const ALL: [Self; 6] = [Self::Nothing, Self::Python, Self::Openssl, Self::C, Self::Awk, Self::All];

    /// As the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Python => "python3 -c 'while True: pass'",
            Self::Openssl => "openssl speed",
            Self::C => "a loop in C",
            Self::Awk => "awk",
            Self::All => "all four",
        }
    }

    /// The shell command that begins it.
    pub fn begin(self) -> String {
        let commands: Vec<String> =
            self.programs().iter().map(|program| format!("{program} >/dev/null 2>&1 &")).collect();
        if commands.is_empty() { ":".to_owned() } else { commands.join(" ") + " :" }
    }

    /// The shell command that ends it.
    pub fn end(self) -> &'static str {
        match self {
            Self::Nothing => ":",
            _ => "kill $(jobs -p); wait",
        }
    }

    fn programs(self) -> &'static [&'static str] {
        const PROGRAMS: [&str; 4] = [
            "python3 -c 'while True: pass'",
            "openssl speed -seconds 3600 -evp sha256",
            "/usr/lib/ftvmm/compute 36000",
            "awk 'BEGIN { while (1) x += 1 }'",
        ];
        match self {
            Self::Nothing => &[],
            Self::Python => &PROGRAMS[..1],
            Self::Openssl => &PROGRAMS[1..2],
            Self::C => &PROGRAMS[2..3],
            Self::Awk => &PROGRAMS[3..],
            Self::All => &PROGRAMS,
        }
    }
}
