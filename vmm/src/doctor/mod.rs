//! What this host can do for a pair, and what to change where it can't.

mod disk;
mod host;
mod kvm;
mod network;
mod trial;

use serde::Serialize;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// A pair runs without it, but something else does not, or not well.
    Warning,
    /// Without it no pair can run here.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// Whether it is as it should be.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// What to change; none where nothing need be.
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(subject: &str, found: impl Into<String>) -> Self {
        Self { subject: subject.to_owned(), severity: Severity::Ok, found: found.into(), remedy: None }
    }

    fn warning(subject: &str, found: impl Into<String>, remedy: &str) -> Self {
        Self::bad(Severity::Warning, subject, found.into(), remedy)
    }

    fn missing(subject: &str, found: impl Into<String>, remedy: &str) -> Self {
        Self::bad(Severity::Missing, subject, found.into(), remedy)
    }

    fn bad(severity: Severity, subject: &str, found: String, remedy: &str) -> Self {
        Self { subject: subject.to_owned(), severity, found, remedy: Some(remedy.to_owned()) }
    }
}

/// Looks at everything. Changes nothing; a trial guest runs for a moment.
#[must_use]
pub fn examine() -> Vec<Finding> {
    let mut findings = kvm::examine();
    if can_run_a_pair(&findings) {
        findings.push(trial::examine());
    }
    findings.push(disk::examine());
    findings.extend(network::examine());
    findings.extend(host::examine());
    findings
}

/// Whether nothing is missing that a side of a pair needs.
#[must_use]
pub fn can_run_a_pair(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.severity != Severity::Missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trial_guest_does_the_same_twice() {
        if machine::kvm::Host::open().is_err() && std::env::var_os("FTVMM_TEST_WITHOUT_KVM").is_some() {
            return eprintln!("skipped: there is no KVM");
        }
        let trial = trial::examine();
        assert_eq!(trial.severity, Severity::Ok, "{trial:?}");
    }

    #[test]
    fn only_what_is_missing_keeps_a_pair_from_running() {
        let good = Finding::ok("a", "there");
        let poor = Finding::warning("b", "slow", "buy another");
        let bad = Finding::missing("c", "not there", "install it");
        assert!(can_run_a_pair(&[good.clone(), poor.clone()]));
        assert!(!can_run_a_pair(&[good, poor, bad]));
    }

    #[test]
    fn whatever_is_not_as_it_should_be_has_a_remedy() {
        for finding in examine() {
            assert_eq!(finding.remedy.is_none(), finding.severity == Severity::Ok, "{finding:?}");
        }
    }
}
