//! What can go wrong between the monitor and the kernel's KVM.

use super::cpuid::TEMPLATES;

/// What went wrong between the monitor and the kernel's KVM.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// `/dev/kvm` is missing or may not be opened.
    #[error("cannot open /dev/kvm: {0}; load the kvm module and run as a member of group kvm, or as root")]
    Open(kvm_ioctls::Error),
    /// The host's KVM lacks something replay depends on.
    #[error("this host's KVM lacks {0}, which replay depends on")]
    Missing(&'static str),
    /// The host's CPU or KVM lacks features of a template.
    #[error(
        "this host's CPU or KVM cannot show guests the CPU baseline {template}: it lacks {missing}; `ftvmm doctor` lists the baselines that it can, and --cpu-baseline chooses one"
    )]
    Cpu {
        /// The template's name.
        template: &'static str,
        /// Names of the features.
        missing: String,
    },
    /// A template's name that is none.
    #[error("there is no CPU baseline '{name}'; this version of ftvmm has {}", TEMPLATES.each_ref().map(|template| template.name).join(", "))]
    NoSuchCpu {
        /// The name.
        name: String,
    },
    /// An ioctl failed.
    #[error("{what} failed: {source}")]
    Ioctl {
        /// Name of the call.
        what: &'static str,
        /// What the kernel answered.
        source: kvm_ioctls::Error,
    },
    /// Some MSRs of a state could not be read or written.
    #[error("KVM refused MSR {index:#x} while it {action} the vCPU state")]
    Msr {
        /// The first MSR that was refused.
        index: u32,
        /// "read", "restored" or "set".
        action: &'static str,
    },
    /// The state was asked for between two exits of one instruction, see [`Vcpu::complete_exit`](super::Vcpu::complete_exit).
    #[error("the vCPU stands within an instruction")]
    WithinInstruction,
    /// Two would keep account of the pages that are written, and each would take what the other has to see.
    #[error("the pages that the guest writes are already being noted for somebody else")]
    Tracked,
    /// An exit of a kind that has no repeatable position, or that means that the guest is broken.
    #[error("unexpected exit: {what}\n{registers}")]
    UnexpectedExit {
        /// The exit and all that KVM says of it.
        what: String,
        /// The vCPU's registers at that point.
        registers: String,
    },
}

/// Names the failed call in the error.
pub(crate) fn ioctl<T>(what: &'static str, result: Result<T, kvm_ioctls::Error>) -> Result<T, KvmError> {
    result.map_err(|source| KvmError::Ioctl { what, source })
}
