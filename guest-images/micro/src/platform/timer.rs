//! The one-shot timer.

use super::ports;

const IN_MICROSECONDS: u16 = 0x520;

/// Fires line 0 once, `microseconds` from now, in place of what was armed before; 0 disarms.
pub fn fire_in(microseconds: u32) {
    ports::write_u32(IN_MICROSECONDS, microseconds);
}
