//! What this host can do for a pair, and what to change where it can't.

mod disk;
mod finding;
mod host;
mod kvm;
mod network;
mod trial;

pub use finding::{Finding, Severity};

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
