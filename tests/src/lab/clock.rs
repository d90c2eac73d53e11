//! How fast this machine's time stamp counter runs, for hosts that would find out wrongly.

use std::{
    arch::x86_64::_rdtsc,
    thread,
    time::{Duration, Instant},
};

/// How long the counter is watched: the time between two readings is then exact to some hundredths of a percent.
const WATCHED: Duration = Duration::from_millis(100);
/// A reading that takes longer was interrupted.
const AT_ONCE: Duration = Duration::from_micros(5);
/// How often it is tried on a machine that interrupts all the time.
const ATTEMPTS: u32 = 1000;

/// The counter's frequency, kHz.
///
/// A lab host that starts while this machine is busy takes its counter, which is this machine's, for several times
/// slower than it is. Its clock would then be that much too fast.
pub(super) fn counter_khz() -> u64 {
    let (begun, first) = read();
    thread::sleep(WATCHED);
    let (ended, last) = read();
    let nanoseconds = (ended - begun).as_nanos();
    (u128::from(last.wrapping_sub(first)) * 1_000_000 / nanoseconds.max(1)) as u64
}

/// The counter, and a moment next to it.
fn read() -> (Instant, u64) {
    let mut last = (Instant::now(), 0);
    for _ in 0..ATTEMPTS {
        let before = Instant::now();
        // SAFETY: it only reads a counter.
        #[allow(unsafe_code)]
        let counter = unsafe { _rdtsc() };
        last = (before, counter);
        if before.elapsed() < AT_ONCE {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_measured_alike_again_and_again() {
        let first = counter_khz();
        assert!((100_000..20_000_000).contains(&first), "{first} kHz");
        let again = counter_khz();
        assert!(first.abs_diff(again) < first / 200, "{first} kHz, then {again} kHz");
    }
}
