//! Virtual time: from the clock's ports, or from the clock page without an exit.

use core::sync::atomic::{AtomicU64, Ordering};

use super::ports;

const LOW: u16 = 0x530;
const HIGH: u16 = 0x534;
const PAGE: u16 = 0x538;

/// The page the monitor writes at each VM exit.
#[repr(C, align(4096))]
struct ClockPage {
    time_ns: AtomicU64,
    wall_base_ns: AtomicU64,
    rest: [u64; 510],
}

static CLOCK_PAGE: ClockPage =
    ClockPage { time_ns: AtomicU64::new(0), wall_base_ns: AtomicU64::new(0), rest: [0; 510] };

/// Hands the clock page to the monitor; [`now_ns`] and [`wall_ns`] read zeroes before.
pub fn start() {
    let frame = (&raw const CLOCK_PAGE).addr() >> 12;
    // The image lies below 4 GiB, so the frame number fits.
    ports::write_u32(PAGE, frame as u32);
}

/// Nanoseconds since power-on, as of the last VM exit.
pub fn now_ns() -> u64 {
    CLOCK_PAGE.time_ns.load(Ordering::Relaxed)
}

/// Unix time in nanoseconds, as of the last VM exit.
pub fn wall_ns() -> u64 {
    CLOCK_PAGE.wall_base_ns.load(Ordering::Relaxed).wrapping_add(now_ns())
}

/// Nanoseconds since power-on, by port: two exits.
pub fn read_ports() -> u64 {
    let low = ports::read_u32(LOW);
    u64::from(ports::read_u32(HIGH)) << 32 | u64::from(low)
}
