//! The one-shot timer.

use serde::{Deserialize, Serialize};

use crate::interrupts::InterruptController;

/// Port (out, 32 bits): fire in this many microseconds from now, 0 disarms.
pub(crate) const RELATIVE_PORT: u16 = 0x520;
/// Port (out, 32 bits): low half of an absolute deadline in virtual nanoseconds, kept until the high half
/// comes.
pub(crate) const DEADLINE_LOW_PORT: u16 = 0x524;
/// Port (out, 32 bits): high half of an absolute deadline; arms it, an all-zero deadline disarms.
pub(crate) const DEADLINE_HIGH_PORT: u16 = 0x528;

const LINE: u8 = 0;

/// Fires line 0 once, when virtual time reaches the deadline.
#[derive(Debug)]
pub(crate) struct Timer {
    deadline_ns: Option<u64>,
    deadline_low: u32,
}

/// Saved state of the timer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerState {
    /// Virtual time at which the timer fires, when it is armed.
    pub deadline_ns: Option<u64>,
    /// Low half of a deadline whose high half has not been written yet.
    pub deadline_low: u32,
}

impl Timer {
    pub(crate) fn new() -> Self {
        Timer { deadline_ns: None, deadline_low: 0 }
    }

    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        self.deadline_ns
    }

    pub(crate) fn arm_relative(&mut self, microseconds: u32, now_ns: u64) {
        let delay_ns = u64::from(microseconds) * 1000;
        self.deadline_ns = (microseconds != 0).then(|| now_ns.saturating_add(delay_ns));
    }

    pub(crate) fn set_deadline_low(&mut self, low: u32) {
        self.deadline_low = low;
    }

    /// Arms the deadline made of the kept low half and `high`. One that has passed fires at once: the guest
    /// may not come to another sync point before it expects the interrupt.
    pub(crate) fn set_deadline_high(&mut self, high: u32, now_ns: u64, interrupts: &mut InterruptController) {
        let deadline_ns = u64::from(high) << 32 | u64::from(self.deadline_low);
        self.deadline_ns = (deadline_ns != 0).then_some(deadline_ns);
        self.fire_if_due(now_ns, interrupts);
    }

    pub(crate) fn fire_if_due(&mut self, now_ns: u64, interrupts: &mut InterruptController) {
        if self.deadline_ns.is_some_and(|deadline_ns| deadline_ns <= now_ns) {
            self.deadline_ns = None;
            interrupts.raise(LINE);
        }
    }

    pub(crate) fn save(&self) -> TimerState {
        let Self { deadline_ns, deadline_low } = self;
        TimerState { deadline_ns: *deadline_ns, deadline_low: *deadline_low }
    }

    pub(crate) fn restore(state: &TimerState) -> Self {
        let TimerState { deadline_ns, deadline_low } = state;
        Timer { deadline_ns: *deadline_ns, deadline_low: *deadline_low }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(timer: &mut Timer, now_ns: u64) -> bool {
        let mut interrupts = InterruptController::new();
        timer.fire_if_due(now_ns, &mut interrupts);
        interrupts.pending() == 1 << LINE
    }

    #[test]
    fn relative_deadline_fires_once_and_not_before() {
        let mut timer = Timer::new();
        timer.arm_relative(3, 1_000);
        assert_eq!(timer.deadline_ns(), Some(4_000));
        assert!(!fired(&mut timer, 3_999));
        assert!(fired(&mut timer, 4_000));
        assert!(!fired(&mut timer, u64::MAX));
    }

    #[test]
    fn absolute_deadline_needs_both_halves() {
        let (mut timer, mut interrupts) = (Timer::new(), InterruptController::new());
        timer.set_deadline_low(7);
        assert_eq!(timer.deadline_ns(), None);
        timer.set_deadline_high(2, 0, &mut interrupts);
        assert_eq!(timer.deadline_ns(), Some((2 << 32) + 7));
        assert_eq!(interrupts.pending(), 0);
    }

    #[test]
    fn past_deadline_fires_when_it_is_armed() {
        let (mut timer, mut interrupts) = (Timer::new(), InterruptController::new());
        timer.set_deadline_low(7);
        timer.set_deadline_high(0, 7, &mut interrupts);
        assert_eq!(interrupts.pending(), 1);
        assert_eq!(timer.deadline_ns(), None);
    }

    #[test]
    fn zero_disarms() {
        let (mut timer, mut interrupts) = (Timer::new(), InterruptController::new());
        timer.arm_relative(1, 0);
        timer.arm_relative(0, 0);
        assert_eq!(timer.deadline_ns(), None);
        timer.arm_relative(1, 0);
        timer.set_deadline_high(0, 10, &mut interrupts);
        assert_eq!((timer.deadline_ns(), interrupts.pending()), (None, 0));
    }

    #[test]
    fn deadline_past_the_end_of_time_saturates() {
        let mut timer = Timer::new();
        timer.arm_relative(u32::MAX, u64::MAX - 1);
        assert_eq!(timer.deadline_ns(), Some(u64::MAX));
    }
}
