//! What the monitor needs of the host's KVM.

use super::KvmError;

/// One thing that the monitor needs of the host's KVM.
pub struct Need {
    /// What it is.
    pub what: &'static str,
    /// Whether it is there, and why it is not enough.
    pub met: Result<(), KvmError>,
}

impl Need {
    /// Of something of KVM's that is there, or is not.
    pub(super) fn of(what: &'static str, there: bool) -> Self {
        Self { what, met: if there { Ok(()) } else { Err(KvmError::Missing(what)) } }
    }
}
