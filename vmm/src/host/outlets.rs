//! Where released output leaves the monitor.

use std::sync::Arc;

use devices::Output;

use crate::host::{console::Console, tap::Tap};

/// The guest's ways to the outside world. What comes here has passed the gate, or there is none to pass.
#[derive(Clone)]
pub struct Outlets {
    /// The network card.
    pub tap: Option<Arc<Tap>>,
    /// The serial console.
    pub console: Console,
}

impl Outlets {
    /// Lets one output out.
    pub fn emit(&self, output: Output) {
        match output {
            Output::Net { frame, .. } => {
                if let Some(tap) = &self.tap {
                    tap.send(&frame);
                }
            }
            Output::Console(bytes) => self.console.write(bytes),
            // Acted on by the step loop, which sees it in the platform's state.
            Output::PowerOff { .. } => {}
        }
    }
}
