//! Orderly power-off.

use serde::{Deserialize, Serialize};

use crate::context::Output;

/// Port (out, 32 bits): power off, the value is the guest's exit status.
pub(crate) const PORT: u16 = 0x540;

/// Remembers that the guest turned itself off.
#[derive(Debug)]
pub(crate) struct Power {
    off_status: Option<u32>,
}

/// Saved state of the power control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerState {
    /// The guest's exit status, once it turned itself off.
    pub off_status: Option<u32>,
}

impl Power {
    pub(crate) fn new() -> Self {
        Power { off_status: None }
    }

    pub(crate) fn off_status(&self) -> Option<u32> {
        self.off_status
    }

    /// The first write counts; the guest may not run on, so a second one (a string output) means nothing.
    pub(crate) fn turn_off(&mut self, status: u32, outputs: &mut Vec<Output>) {
        if self.off_status.is_none() {
            self.off_status = Some(status);
            outputs.push(Output::PowerOff { status });
        }
    }

    pub(crate) fn save(&self) -> PowerState {
        let Self { off_status } = self;
        PowerState { off_status: *off_status }
    }

    pub(crate) fn restore(state: &PowerState) -> Self {
        let PowerState { off_status } = state;
        Power { off_status: *off_status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_status_counts() {
        let (mut power, mut outputs) = (Power::new(), Vec::new());
        assert_eq!(power.off_status(), None);
        power.turn_off(0, &mut outputs);
        power.turn_off(3, &mut outputs);
        assert_eq!(power.off_status(), Some(0));
        assert_eq!(outputs, [Output::PowerOff { status: 0 }]);
    }
}
