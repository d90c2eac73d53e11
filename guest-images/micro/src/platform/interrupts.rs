//! The interrupt controller's mask, and the numbers of the lines.

use core::sync::atomic::{AtomicU32, Ordering};

use super::ports;

const MASK_PORT: u16 = 0x510;

/// The timer's line.
pub const TIMER: u32 = 0;
/// The serial port's line.
pub const SERIAL: u32 = 4;
/// The line of virtio slot 0.
pub const VIRTIO_0: u32 = 8;

/// Lines let through, bit n for line n. None at reset.
static ENABLED: AtomicU32 = AtomicU32::new(0);

/// Lets `line` (below 32) through from now on.
pub fn enable(line: u32) {
    let lines = ENABLED.fetch_or(1 << line, Ordering::Relaxed) | 1 << line;
    ports::write_u32(MASK_PORT, !lines);
}
