//! Power-off and reset.

use super::ports;
use crate::arch;

const PORT: u16 = 0x540;

const RESET_PORT: u16 = 0x544;

const RESET: u32 = 0;
const PANICKED: u32 = 1;

/// Exit status of a guest that ran into an exception.
pub const FAULTED: u32 = 2;

/// Ends the VM; `status` is the guest's exit status, 0 for success.
pub fn off(status: u32) -> ! {
    ports::write_u32(PORT, status);
    wait()
}

/// Has the machine begin again.
pub fn reset() -> ! {
    ports::write_u32(RESET_PORT, RESET);
    wait()
}

/// Tells the monitor that this guest can do no more; what comes of it was said at the monitor's start.
pub fn panicked() -> ! {
    ports::write_u32(RESET_PORT, PANICKED);
    wait()
}

fn wait() -> ! {
    loop {
        arch::idle();
    }
}
