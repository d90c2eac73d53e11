//! The registers at a sync point, and as text, for error messages.

use crate::{REGISTER_COUNT, REGISTER_NAMES};

/// The general registers in the order of [`REGISTER_NAMES`].
pub type RegisterFile = [u64; REGISTER_COUNT];

/// The registers by name, three to a line.
pub fn describe(registers: &RegisterFile) -> String {
    let named: Vec<String> = REGISTER_NAMES
        .iter()
        .zip(registers)
        .map(|(name, value)| format!("{name:>6} {value:#018x}"))
        .collect();
    named.chunks(3).map(|line| line.join("  ")).collect::<Vec<_>>().join("\n")
}

/// Both sides' registers, a line each, the ones that differ marked.
pub fn describe_both(recorded: &RegisterFile, replayed: &RegisterFile) -> String {
    let row = |((name, recorded), replayed): ((&&str, &u64), &u64)| {
        let mark = if recorded == replayed { "" } else { "  <-- differs" };
        format!("{name:>6}  recorded {recorded:#018x}  replayed {replayed:#018x}{mark}")
    };
    REGISTER_NAMES.iter().zip(recorded).zip(replayed).map(row).collect::<Vec<_>>().join("\n")
}
