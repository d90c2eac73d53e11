//! The host's KVM: which one it is, and whether it offers what replay depends on.

use std::path::Path;

use super::Finding;
use crate::kvm::Host;

/// Kernel modules that bring KVM to a CPU, with what is to be known of each.
const FLAVOURS: [(&str, &str); 3] = [
    ("kvm_intel", "Intel VMX"),
    ("kvm_amd", "AMD SVM"),
    ("kvm_pvm", "no hardware virtualization: guest kernel code is emulated, an exit takes tens of µs"),
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
    findings
}

fn flavour() -> Finding {
    let loaded = FLAVOURS.iter().find(|(module, _)| Path::new("/sys/module").join(module).exists());
    match loaded {
        Some((module, what)) => Finding::ok("KVM flavour", format!("{module}: {what}")),
        None => Finding::ok("KVM flavour", "built into the kernel, or none that this program knows"),
    }
}
