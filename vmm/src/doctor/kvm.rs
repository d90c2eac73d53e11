//! The host's KVM: which one it is, and whether it offers what replay depends on.

use std::{fs, path::Path};

use machine::kvm::{Host, PARAMETERS, Template, cpuid::TEMPLATES};

use super::Finding;

/// Kernel modules that bring a CPU's virtualization to KVM.
const HARDWARE: [(&str, &str); 2] = [("kvm_intel", "Intel VMX"), ("kvm_amd", "AMD SVM")];
/// The module that does without.
const PVM: &str = "kvm_pvm";

/// Parameters of the `kvm` module that show guests what is not there, or what the host's clock says.
const LOOSE: [(&str, &str); 2] = [
    ("ignore_msrs", "unknown MSRs read as 0 instead of raising #GP"),
    ("enable_vmware_backdoor", "guests' programs can ask for the host's time"),
];

pub fn examine() -> Vec<Finding> {
    let needs = match Host::examine() {
        Ok(needs) => needs,
        Err(error) => {
            let remedy = "modprobe kvm_intel or kvm_amd (virtualization must be on in the firmware, and nested \
                          virtualization on an outer host), and be root or a member of group kvm";
            return vec![Finding::missing("/dev/kvm", error.to_string(), remedy)];
        }
    };
    let mut findings = vec![Finding::ok("/dev/kvm", "opens"), flavour()];
    findings.extend(needs.into_iter().map(|need| match need.met {
        Ok(()) => Finding::ok("KVM", need.what),
        Err(error) => Finding::missing(
            "KVM",
            error.to_string(),
            "use a newer kernel, or a CPU with the x86-64 baseline",
        ),
    }));
    findings.extend(Host::open().iter().flat_map(|host| TEMPLATES.iter().map(|cpu| baseline(host, cpu))));
    findings.extend(LOOSE.iter().map(|(name, meaning)| parameter(Path::new(PARAMETERS), name, meaning)));
    findings
}

fn baseline(host: &Host, cpu: &Template) -> Finding {
    match host.can_show(cpu) {
        Ok(()) => Finding::ok("CPU baseline", format!("{}: {}", cpu.name, cpu.about)),
        Err(error) => Finding::warning(
            "CPU baseline",
            error.to_string(),
            "choose a poorer one for a VM that is to have a side here: --cpu-baseline NAME at its primary",
        ),
    }
}

/// A parameter in `directory` that is on where it should not be. ftvmm's guests do not depend on it: the monitor's own filter comes first.
fn parameter(directory: &Path, name: &str, meaning: &str) -> Finding {
    let path = directory.join(name);
    match fs::read_to_string(&path) {
        Ok(value) if value.trim() == "Y" => {
            let remedy = format!("echo N > {}, and take it out of /etc/modprobe.d", path.display());
            Finding::warning("KVM", format!("kvm.{name} is on: {meaning}"), &remedy)
        }
        Ok(_) => Finding::ok("KVM", format!("kvm.{name} is off")),
        Err(_) => Finding::ok("KVM", format!("no parameter kvm.{name}")),
    }
}

fn flavour() -> Finding {
    flavour_of(|module| Path::new("/sys/module").join(module).exists())
}

fn flavour_of(is_loaded: impl Fn(&str) -> bool) -> Finding {
    let hardware = HARDWARE.iter().find(|(module, _)| is_loaded(module));
    match hardware {
        Some((module, what)) => {
            Finding::ok("KVM flavour", format!("{module} ({what}): ftvmm's own guests and Linux run"))
        }
        None if is_loaded(PVM) => Finding::warning(
            "KVM flavour",
            format!(
                "{PVM}: ftvmm's own guests (builtin:kv, builtin:ledger) run, Linux does not; there is no hardware \
                 virtualization, guest kernel code is emulated, and an exit takes tens of µs"
            ),
            "for Linux guests use a host with kvm_intel or kvm_amd",
        ),
        None => Finding::ok("KVM flavour", "built into the kernel, or none that this program knows"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn a_parameter_that_loosens_kvm_is_a_warning() {
        let directory = tempfile::tempdir().unwrap();
        for (value, severity) in [("Y\n", Severity::Warning), ("N\n", Severity::Ok)] {
            fs::write(directory.path().join("ignore_msrs"), value).unwrap();
            let found = parameter(directory.path(), "ignore_msrs", "unknown MSRs read as 0");
            assert_eq!(found.severity, severity, "{found:?}");
        }
        assert_eq!(parameter(directory.path(), "nobody", "nothing").severity, Severity::Ok);
    }

    #[test]
    fn the_baselines_that_this_host_cannot_show_are_named() {
        if Host::open().is_err() && std::env::var_os("FTVMM_TEST_WITHOUT_KVM").is_some() {
            return eprintln!("skipped: there is no KVM");
        }
        let host = Host::open().unwrap();
        for cpu in &TEMPLATES {
            let found = baseline(&host, cpu);
            assert!(found.found.contains(cpu.name), "{found:?}");
            assert_eq!(found.severity == Severity::Ok, host.can_show(cpu).is_ok(), "{found:?}");
        }
    }

    #[test]
    fn a_kvm_on_which_linux_cannot_run_is_not_called_ok() {
        let pvm = flavour_of(|module| module == PVM);
        assert_eq!(pvm.severity, Severity::Warning);
        assert!(pvm.found.contains("Linux does not"), "{pvm:?}");
        assert_eq!(flavour_of(|module| module == "kvm_amd").severity, Severity::Ok);
    }
}
