//! A deadline kept in software, so that the timer is touched only when it would fire too late.

/// Deadlines nearer than this many ns count as this far, lest the guest do nothing but take interrupts.
const NEAREST_NS: u64 = 1_000_000;

/// What the timer is set to.
#[derive(Debug, Default)]
pub struct Alarm {
    /// When it fires, in ns since power-on.
    armed_ns: Option<u64>,
}

impl Alarm {
    /// The timer has fired.
    pub fn fired(&mut self) {
        self.armed_ns = None;
    }

    /// In how many microseconds the timer must be made to fire, for a deadline in ns since power-on; `None` when it
    /// fires early enough as it is.
    pub fn set(&mut self, deadline_ns: u64, now_ns: u64) -> Option<u32> {
        let deadline_ns = deadline_ns.max(now_ns.saturating_add(NEAREST_NS));
        if self.armed_ns.is_some_and(|armed_ns| armed_ns <= deadline_ns) {
            return None;
        }
        self.armed_ns = Some(deadline_ns);
        Some(u32::try_from((deadline_ns - now_ns).div_ceil(1000)).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touches_the_timer_only_for_an_earlier_deadline() {
        let mut alarm = Alarm::default();
        assert_eq!(alarm.set(5_000_000_001, 1_000_000_000), Some(4_000_001));
        assert_eq!(alarm.set(6_000_000_000, 1_500_000_000), None);
        assert_eq!(alarm.set(3_000_000_000, 2_000_000_000), Some(1_000_000));
        alarm.fired();
        assert_eq!(alarm.set(6_000_000_000, 3_000_000_000), Some(3_000_000));
    }

    #[test]
    fn keeps_its_distance_and_its_range() {
        assert_eq!(Alarm::default().set(0, 7_000), Some(1_000));
        assert_eq!(Alarm::default().set(u64::MAX, 0), Some(u32::MAX));
        assert_eq!(Alarm::default().set(u64::MAX, u64::MAX), Some(0));
    }
}
