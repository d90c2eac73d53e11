//! Power-off.

use super::ports;
use crate::arch;

const PORT: u16 = 0x540;

/// Exit status of a guest that panicked.
pub const PANICKED: u32 = 1;
/// Exit status of a guest that ran into an exception.
pub const FAULTED: u32 = 2;

/// Ends the VM; `status` is the guest's exit status, 0 for success.
pub fn off(status: u32) -> ! {
    ports::write_u32(PORT, status);
    loop {
        arch::idle();
    }
}
