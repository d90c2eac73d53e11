//! What an arbiter knows of a VM: who holds which generation, and whether that has ended.
//!
//! `NAME.N` names the holder of generation N, and `NAME.N.ended` says that the holder ended the VM in order. Neither ever
//! changes.

use std::{
    fmt,
    time::{Duration, UNIX_EPOCH},
};

use ftlog::{Generation, VmId};
use serde::{Deserialize, Serialize};

use super::Holder;
use crate::host::clock::wall_ns;

const ENDED: &str = ".ended";
/// The end of the year 9999: what a damaged file says need not be shown.
const FARTHEST_MS: u64 = 253_402_300_799_999;

/// A generation of a VM and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The VM. Another one of the same name has another id.
    #[serde(with = "hex")]
    pub vm: VmId,
    /// The generation.
    pub generation: Generation,
    /// Who holds it.
    pub holder: Holder,
    /// When it was claimed, Unix time in ms of the holder's clock.
    pub since_ms: u64,
    /// Whoever held the generation before might still have run the VM, and the holder waits before it runs it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub yields: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
fn is_false(yes: &bool) -> bool {
    !yes
}

/// The orderly end of a VM in a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// How it ended.
    pub how: String,
    /// When, Unix time in ms of the holder's clock.
    pub at_ms: u64,
}

impl Ended {
    /// An end now.
    #[must_use]
    pub fn now(how: &str) -> Self {
        Self { how: how.to_owned(), at_ms: wall_ns() / 1_000_000 }
    }
}

/// The newest generation of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Latest {
    /// Who holds it.
    pub entry: Entry,
    /// Whether the VM has ended.
    pub ended: Option<Ended>,
}

impl fmt::Display for Latest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { generation, holder, since_ms, .. } = &self.entry;
        write!(f, "generation {generation}, ")?;
        match &self.ended {
            Some(Ended { how, at_ms }) => {
                write!(f, "ended on {} at {} ({how})", holder.host, time(*at_ms))
            }
            None => write!(f, "held by {holder} since {}", time(*since_ms)),
        }
    }
}

/// The name of a generation's file.
pub fn claim_name(name: &str, generation: Generation) -> String {
    format!("{name}.{generation}")
}

/// The name of the file that says that a generation ended.
pub fn ended_name(name: &str, generation: Generation) -> String {
    format!("{name}.{generation}{ENDED}")
}

/// The VM's name and the generation in the name of a claim's file.
pub fn parse_claim_name(file: &str) -> Option<(&str, Generation)> {
    let (name, number) = file.rsplit_once('.')?;
    let generation = Generation(number.parse().ok()?);
    // One spelling only.
    (claim_name(name, generation) == file && !name.is_empty()).then_some((name, generation))
}

/// A moment for people, in UTC.
pub fn time(unix_ms: u64) -> String {
    let moment = UNIX_EPOCH + Duration::from_millis(unix_ms.min(FARTHEST_MS));
    humantime::format_rfc3339_seconds(moment).to_string()
}

mod hex {
    use ftlog::VmId;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(vm: &VmId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(vm)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<VmId, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|()| D::Error::custom("32 hexadecimal digits expected"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_dots_and_numbers() {
        for (name, generation) in [("db", 1), ("db.2", 3), ("a.5.ended", 7), ("x-1", 12)] {
            let file = claim_name(name, Generation(generation));
            assert_eq!(parse_claim_name(&file), Some((name, Generation(generation))), "{file}");
        }
        for other in ["ftvmm-arbiter", "db", "db.", ".1", "db.01", "db.+1", "db.1.ended", "db.-1"] {
            assert_eq!(parse_claim_name(other), None, "{other}");
        }
    }

    #[test]
    fn any_moment_can_be_shown() {
        assert_eq!(time(951_782_400_000), "2000-02-29T00:00:00Z");
        assert!(time(u64::MAX).starts_with("9999-"));
    }
}
