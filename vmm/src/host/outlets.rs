//! Where released output leaves the monitor.

use std::sync::Arc;

use devices::{NetConfig, Output};
use ftlog::Event;

use crate::{
    disk::Disks,
    host::{
        announce::{Addresses, announce},
        console::Console,
        tap::Tap,
    },
};

/// The guest's ways to the outside world. What comes here has passed the gate, or there is none to pass.
#[derive(Clone)]
pub struct Outlets {
    /// The network card.
    pub tap: Option<Arc<Tap>>,
    /// The serial console.
    pub console: Console,
    /// The disks.
    pub disks: Arc<Disks>,
}

impl Outlets {
    /// Lets all outputs of a sync point out, at which the guest was told `events`.
    pub fn emit_all(&self, events: &[Event], outputs: &mut Vec<Output>) {
        self.disks.admit(events, outputs);
        outputs.drain(..).for_each(|output| self.emit(output));
    }

    /// Tells the network that a guest with the card `net` is here, of which nothing else is known.
    pub fn announce(&self, net: Option<NetConfig>) {
        if let (Some(tap), Some(net)) = (&self.tap, net) {
            announce(tap, &Addresses::of(net.mac));
        }
    }

    /// Lets one output out; a disk's request was admitted before.
    pub fn emit(&self, output: Output) {
        match output {
            Output::Net { frame, .. } => {
                if let Some(tap) = &self.tap {
                    tap.send(&frame);
                }
            }
            Output::Console(bytes) => self.console.write(&bytes),
            Output::Disk(request) => self.disks.perform(request),
            // Acted on by the step loop and the machine, which see it in the platform's state.
            Output::PowerOff(_) | Output::Reset(_) => {}
        }
    }
}
