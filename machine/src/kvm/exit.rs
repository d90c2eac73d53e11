//! The exits of a vCPU as plain values.

use ftlog::ExitKind;

/// Why the guest stopped running. Every kind but [`Exit::Interrupted`] and [`Exit::Forced`] is a sync point: it happens at
/// the same instruction when the same execution is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// `IN`, or one batch of `INS`: the vCPU waits for data.
    PioRead {
        /// The port.
        port: u16,
        /// Bytes an access, 1, 2 or 4.
        size: u8,
    },
    /// `OUT`, or one batch of `OUTS`.
    PioWrite {
        /// The port.
        port: u16,
        /// Bytes an access, 1, 2 or 4.
        size: u8,
    },
    /// A load from an address without memory: the vCPU waits for data.
    MmioRead {
        /// Guest-physical address.
        gpa: u64,
    },
    /// A store to an address without memory.
    MmioWrite {
        /// Guest-physical address.
        gpa: u64,
    },
    /// `HLT`.
    Halt,
    /// `RDMSR` of a register that KVM does not keep for the guest.
    MsrRead {
        /// The MSR.
        index: u32,
    },
    /// `WRMSR` to a register that KVM does not keep for the guest.
    MsrWrite {
        /// The MSR.
        index: u32,
        /// What the guest wrote.
        value: u64,
    },
    /// None: the guest was stopped where a signal had interrupted it, and state is sent in place of a log.
    Forced {
        /// Digest of the [`ftlog::Delta`] that leads there; 0 where nobody needs one.
        delta: u64,
    },
    /// A signal came, or KVM said so without one: not a sync point, the guest goes on from where it is.
    Interrupted,
}

impl Exit {
    /// How the log names this exit and the address that goes into the digest, or `None` where the log has nothing of it.
    pub fn sync_point(self) -> Option<(ExitKind, u64)> {
        // The access size and the direction are part of the address so that the digest covers them.
        Some(match self {
            Exit::PioRead { port, size } => (ExitKind::Pio, u64::from(port) | u64::from(size) << 32),
            Exit::PioWrite { port, size } => {
                (ExitKind::Pio, u64::from(port) | u64::from(size) << 32 | 1 << 63)
            }
            Exit::MmioRead { gpa } => (ExitKind::Mmio, gpa),
            Exit::MmioWrite { gpa } => (ExitKind::Mmio, gpa | 1 << 63),
            Exit::Halt => (ExitKind::Halt, 0),
            Exit::MsrRead { index } => (ExitKind::Msr, u64::from(index)),
            Exit::MsrWrite { index, value } => {
                (ExitKind::Msr, u64::from(index) ^ value.rotate_left(32) | 1 << 63)
            }
            Exit::Forced { delta } => (ExitKind::Forced, delta),
            Exit::Interrupted => return None,
        })
    }
}
