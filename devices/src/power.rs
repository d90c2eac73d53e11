//! Power-off, reset, and what comes of a guest that says that it has panicked.

use serde::{Deserialize, Serialize};

use crate::context::Output;
use crate::ends::{Off, ResetCause};

/// Port (out, 32 bits): power off, the value is the guest's exit status.
pub(crate) const PORT: u16 = 0x540;
/// Port (out, 32 bits): 0 resets the machine, 1 says that the guest has panicked.
pub(crate) const RESET_PORT: u16 = 0x544;
/// Port (out, 8 bits) of a PC's keyboard controller, where [`PULSE_RESET`] resets the machine.
pub(crate) const KEYBOARD_PORT: u16 = 0x64;
/// Port (out, 8 bits) of a PC's reset control register, where [`RESET_CPU`] resets the machine.
pub(crate) const RESET_CONTROL_PORT: u16 = 0xcf9;

const RESET: u32 = 0;
const PANICKED: u32 = 1;
const PULSE_RESET: u8 = 0xfe;
const RESET_CPU: u8 = 1 << 2;

/// What comes of a guest that has panicked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnPanic {
    /// The machine ends.
    #[default]
    Halt,
    /// The machine is reset.
    Reboot,
}

/// Remembers that the guest turned itself off, or wants to begin again.
#[derive(Debug)]
pub(crate) struct Power {
    on_panic: OnPanic,
    off: Option<Off>,
    reset: Option<ResetCause>,
}

/// Saved state of the power control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerState {
    /// What comes of a panic.
    pub on_panic: OnPanic,
    /// How the machine ended, once it has.
    pub off: Option<Off>,
    /// The machine is to be reset before the guest runs on.
    pub reset: Option<ResetCause>,
}

impl Power {
    pub(crate) fn new(on_panic: OnPanic) -> Self {
        Power { on_panic, off: None, reset: None }
    }

    pub(crate) fn off(&self) -> Option<Off> {
        self.off
    }

    pub(crate) fn reset_wanted(&self) -> Option<ResetCause> {
        self.reset
    }

    /// Power on again, after a reset.
    pub(crate) fn reset(&mut self) {
        *self = Power::new(self.on_panic);
    }

    pub(crate) fn turn_off(&mut self, status: u32, outputs: &mut Vec<Output>) {
        self.end(Off::Status(status), outputs);
    }

    /// The guest writes [`RESET_PORT`]. Values that mean nothing do nothing.
    pub(crate) fn write_reset(&mut self, value: u32, outputs: &mut Vec<Output>) {
        match (value, self.on_panic) {
            (RESET, _) => self.begin_again(ResetCause::Guest, outputs),
            (PANICKED, OnPanic::Reboot) => self.begin_again(ResetCause::Panic, outputs),
            (PANICKED, OnPanic::Halt) => self.end(Off::Panicked, outputs),
            _ => {}
        }
    }

    pub(crate) fn write_keyboard(&mut self, value: u8, outputs: &mut Vec<Output>) {
        if value == PULSE_RESET {
            self.begin_again(ResetCause::Guest, outputs);
        }
    }

    pub(crate) fn write_reset_control(&mut self, value: u8, outputs: &mut Vec<Output>) {
        if value & RESET_CPU != 0 {
            self.begin_again(ResetCause::Guest, outputs);
        }
    }

    /// The first of all writes counts; the guest may not run on, so a second one (a string output) means nothing.
    fn end(&mut self, off: Off, outputs: &mut Vec<Output>) {
        if self.off.is_none() && self.reset.is_none() {
            self.off = Some(off);
            outputs.push(Output::PowerOff(off));
        }
    }

    fn begin_again(&mut self, cause: ResetCause, outputs: &mut Vec<Output>) {
        if self.off.is_none() && self.reset.is_none() {
            self.reset = Some(cause);
            outputs.push(Output::Reset(cause));
        }
    }

    pub(crate) fn save(&self) -> PowerState {
        let Self { on_panic, off, reset } = self;
        PowerState { on_panic: *on_panic, off: *off, reset: *reset }
    }

    pub(crate) fn restore(state: &PowerState) -> Self {
        let PowerState { on_panic, off, reset } = state;
        Power { on_panic: *on_panic, off: *off, reset: *reset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_all_counts() {
        let (mut power, mut outputs) = (Power::new(OnPanic::Halt), Vec::new());
        assert_eq!((power.off(), power.reset_wanted()), (None, None));
        power.turn_off(0, &mut outputs);
        power.turn_off(3, &mut outputs);
        power.write_reset(RESET, &mut outputs);
        assert_eq!((power.off(), power.reset_wanted()), (Some(Off::Status(0)), None));
        assert_eq!(outputs, [Output::PowerOff(Off::Status(0))]);

        let (mut power, mut outputs) = (Power::new(OnPanic::Halt), Vec::new());
        power.write_reset(RESET, &mut outputs);
        power.turn_off(0, &mut outputs);
        assert_eq!((power.off(), power.reset_wanted()), (None, Some(ResetCause::Guest)));
        assert_eq!(outputs, [Output::Reset(ResetCause::Guest)]);
        power.reset();
        assert_eq!(power.reset_wanted(), None);
    }

    #[test]
    fn a_panic_is_what_it_was_said_to_be() {
        for (on_panic, expected) in [
            (OnPanic::Halt, Output::PowerOff(Off::Panicked)),
            (OnPanic::Reboot, Output::Reset(ResetCause::Panic)),
        ] {
            let (mut power, mut outputs) = (Power::new(on_panic), Vec::new());
            power.write_reset(PANICKED, &mut outputs);
            assert_eq!(outputs, [expected]);
            power.reset();
            assert_eq!(power.save().on_panic, on_panic, "also after a reset");
        }
    }

    #[test]
    fn the_ways_of_a_pc_reset_it_too() {
        let wants = |write: fn(&mut Power, &mut Vec<Output>)| {
            let (mut power, mut outputs) = (Power::new(OnPanic::Halt), Vec::new());
            write(&mut power, &mut outputs);
            power.reset_wanted().is_some()
        };
        assert!(wants(|power, outputs| power.write_keyboard(0xfe, outputs)));
        assert!(!wants(|power, outputs| power.write_keyboard(0xd1, outputs)));
        assert!(wants(|power, outputs| power.write_reset_control(0x06, outputs)));
        assert!(!wants(|power, outputs| power.write_reset_control(0x02, outputs)));
        assert!(!wants(|power, outputs| power.write_reset(7, outputs)));
    }
}
